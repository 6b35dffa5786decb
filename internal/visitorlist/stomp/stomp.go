// Package stomp reads and writes the frames of STOMP 1.2 and 1.1, as far as a
// server needs them that only tells: https://stomp.github.io.
package stomp

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Commands of a client and of a server.
const (
	Connect     = "CONNECT"
	Stomp       = "STOMP" // the same as Connect
	Subscribe   = "SUBSCRIBE"
	Unsubscribe = "UNSUBSCRIBE"
	Disconnect  = "DISCONNECT"

	Connected = "CONNECTED"
	Message   = "MESSAGE"
	Receipt   = "RECEIPT"
	Error     = "ERROR"
)

// Limits of what is read.
const (
	maxHeaders = 32
	maxName    = 64
	maxValue   = 16 << 10 // a token is some kilobytes
)

// ErrSyntax is in the tree of every error of [Parse].
var ErrSyntax = errors.New("stomp: malformed frame")

// Header is one header of a frame.
type Header struct{ Name, Value string }

// Frame is a command with its headers and body.
type Frame struct {
	Command string
	Headers []Header
	Body    []byte
}

// Get returns the value of a header: the first one's of several, as "Repeated
// header entries" has it; "" without one.
func (f *Frame) Get(name string) string {
	for _, h := range f.Headers {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

// Parse reads the frame that b begins with, after any ends of line, which are
// heart-beats, and returns what follows it. ok is false without an error when
// there are only heart-beats. A frame must be complete.
func Parse(b []byte) (f Frame, rest []byte, ok bool, err error) {
	for len(b) > 0 && (b[0] == '\n' || b[0] == '\r') {
		b = b[1:]
	}
	if len(b) == 0 {
		return Frame{}, nil, false, nil
	}
	line, b, err := cutLine(b)
	if err != nil {
		return Frame{}, nil, false, err
	}
	f.Command = line
	for {
		if line, b, err = cutLine(b); err != nil {
			return Frame{}, nil, false, err
		}
		if line == "" {
			break
		}
		h, err := f.header(line)
		if err != nil {
			return Frame{}, nil, false, err
		}
		if len(f.Headers) >= maxHeaders {
			return Frame{}, nil, false, fmt.Errorf("%w: too many headers", ErrSyntax)
		}
		f.Headers = append(f.Headers, h)
	}
	if f.Body, rest, err = f.body(b); err != nil {
		return Frame{}, nil, false, err
	}
	return f, rest, true, nil
}

// cutLine cuts a line off, without its end: a newline, with or without a
// carriage return before it.
func cutLine(b []byte) (line string, rest []byte, err error) {
	i := bytes.IndexByte(b, '\n')
	if i < 0 {
		return "", nil, fmt.Errorf("%w: cut off", ErrSyntax)
	}
	return string(bytes.TrimSuffix(b[:i], []byte("\r"))), b[i+1:], nil
}

func (f *Frame) header(line string) (Header, error) {
	name, value, ok := strings.Cut(line, ":")
	if !ok || name == "" || len(name) > maxName || len(value) > maxValue {
		return Header{}, fmt.Errorf("%w: a header", ErrSyntax)
	}
	if f.Command == Connect || f.Command == Connected {
		return Header{name, value}, nil // for the sake of STOMP 1.0 nothing is escaped there
	}
	n, err1 := unescape(name)
	v, err2 := unescape(value)
	return Header{n, v}, errors.Join(err1, err2)
}

func unescape(s string) (string, error) {
	if strings.IndexByte(s, '\\') < 0 {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		if i++; i == len(s) {
			return "", fmt.Errorf("%w: an escape", ErrSyntax)
		}
		switch s[i] {
		case 'r':
			b.WriteByte('\r')
		case 'n':
			b.WriteByte('\n')
		case 'c':
			b.WriteByte(':')
		case '\\':
			b.WriteByte('\\')
		default:
			return "", fmt.Errorf("%w: an escape", ErrSyntax)
		}
	}
	return b.String(), nil
}

// body cuts the body off: as long as content-length says, else up to the NUL.
func (f *Frame) body(b []byte) (body, rest []byte, err error) {
	n := bytes.IndexByte(b, 0)
	if length := f.Get("content-length"); length != "" {
		if n, err = strconv.Atoi(length); err != nil || n < 0 || n >= len(b) || b[n] != 0 {
			return nil, nil, fmt.Errorf("%w: content-length", ErrSyntax)
		}
	}
	if n < 0 {
		return nil, nil, fmt.Errorf("%w: no NUL", ErrSyntax)
	}
	return b[:n], b[n+1:], nil
}

var escaper = strings.NewReplacer("\\", `\\`, "\r", `\r`, "\n", `\n`, ":", `\c`)

// Append appends a frame.
func (f *Frame) Append(dst []byte) []byte {
	dst = append(append(dst, f.Command...), '\n')
	for _, h := range f.Headers {
		name, value := h.Name, h.Value
		if f.Command != Connected && f.Command != Connect {
			name, value = escaper.Replace(name), escaper.Replace(value)
		}
		dst = append(append(append(append(dst, name...), ':'), value...), '\n')
	}
	if len(f.Body) > 0 {
		dst = append(dst, "content-length:"...)
		dst = append(strconv.AppendInt(dst, int64(len(f.Body)), 10), '\n')
	}
	dst = append(dst, '\n')
	return append(append(dst, f.Body...), 0)
}
