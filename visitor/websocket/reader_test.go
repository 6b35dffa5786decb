package websocket

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

var testMask = [4]byte{0x37, 0xfa, 0x21, 0x3d}

// frame encodes a masked client frame with the shortest length.
func frame(b0 byte, payload string) []byte {
	dst := []byte{b0}
	switch n := len(payload); {
	case n <= 125:
		dst = append(dst, 0x80|byte(n))
	case n <= 0xFFFF:
		dst = binary.BigEndian.AppendUint16(append(dst, 0x80|126), uint16(n))
	default:
		dst = binary.BigEndian.AppendUint64(append(dst, 0x80|127), uint64(n))
	}
	dst = append(dst, testMask[:]...)
	for i := range len(payload) {
		dst = append(dst, payload[i]^testMask[i%4])
	}
	return dst
}

const (
	fin  = 0x80
	text = 0x1
	bin  = 0x2
	cont = 0x0
	cls  = 0x8
	ping = 0x9
	pong = 0xA
)

func join(frames ...[]byte) []byte { return bytes.Join(frames, nil) }

func closePayload(code uint16, text string) string {
	return string(binary.BigEndian.AppendUint16(nil, code)) + text
}

// readAll renders what a Reader makes of the input.
func readAll(src io.Reader, max int) []string {
	var got []string
	r := NewReader(src, nil, max)
	for {
		m, err := r.Next()
		var ce CloseError
		switch {
		case errors.As(err, &ce):
			return append(got, fmt.Sprintf("close %d", ce.Code))
		case err != nil:
			return append(got, err.Error())
		}
		s := string(m.Data)
		if len(s) > 40 {
			s = fmt.Sprintf("%d bytes", len(s))
		}
		switch m.Kind {
		case Text:
			got = append(got, "text "+s)
		case Ping:
			got = append(got, "ping "+s)
		case Pong:
			got = append(got, "pong "+s)
		case Close:
			got = append(got, fmt.Sprintf("closed %d %s", m.Code, s))
		}
	}
}

// What the conformance cases leave out: encodings, limits and ends of input.
var readerCases = []struct {
	name string
	in   []byte
	want []string
}{
	{"not masked", []byte{fin | text, 1, 'x'}, []string{"close 1002"}},
	{"not masked, said after two bytes", []byte{fin | text, 1}, []string{"close 1002"}},
	{"two-byte length for 125", append([]byte{fin | text, 0x80 | 126, 0, 125}, make([]byte, 4)...), []string{"close 1002"}},
	{"eight-byte length for 65535", append([]byte{fin | text, 0x80 | 127, 0, 0, 0, 0, 0, 0, 255, 255}, make([]byte, 4)...), []string{"close 1002"}},
	{"length with the top bit", append([]byte{fin | text, 0x80 | 127, 128, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 4)...), []string{"close 1002"}},
	{"length of 2^62", append([]byte{fin | text, 0x80 | 127, 64, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 4)...), []string{ErrTooLarge.Error()}},
	{"one byte too large", frame(fin|text, strings.Repeat("x", testMax+1)), []string{ErrTooLarge.Error()}},
	{"too large in two fragments", join(frame(text, strings.Repeat("x", testMax)), frame(fin|cont, "x")), []string{ErrTooLarge.Error()}},
	{"as large as allowed", frame(fin|text, strings.Repeat("x", testMax)), []string{fmt.Sprintf("text %d bytes", testMax), "EOF"}},
	{"nothing", nil, []string{"EOF"}},
	{"half a header", []byte{fin}, []string{"unexpected EOF"}},
	{"half a frame", frame(fin|text, "hello")[:9], []string{"unexpected EOF"}},
	{"end inside a fragmented message", frame(text, "hello"), []string{"unexpected EOF"}},
	{"half a ping", frame(fin|ping, "hello")[:9], []string{"unexpected EOF"}},
}

const testMax = 128 << 10

func fragments(s string, n int) []byte {
	var out []byte
	op := byte(text)
	for len(s) > n {
		out = append(out, frame(op, s[:n])...)
		s, op = s[n:], cont
	}
	return append(out, frame(fin|op, s)...)
}

func TestReader(t *testing.T) {
	for _, c := range readerCases {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, c.want, readAll(bytes.NewReader(c.in), testMax))
			require.Equal(t, c.want, readAll(iotest.OneByteReader(bytes.NewReader(c.in)), testMax), "byte by byte")
			require.Equal(t, c.want, readAll(iotest.DataErrReader(bytes.NewReader(c.in)), testMax), "end with the last bytes")
		})
	}
}

// A read deadline may fall anywhere; nothing may be lost or read twice.
func TestReaderGoesOnAfterTimeouts(t *testing.T) {
	for _, c := range readerCases {
		t.Run(c.name, func(t *testing.T) {
			src := &stutter{src: bytes.NewReader(c.in)}
			require.Equal(t, c.want, readAllRetrying(src, testMax))
			src = &stutter{src: bytes.NewReader(c.in), scraps: true}
			require.Equal(t, c.want, readAllResting(src, testMax))
		})
	}
}

// stutter times out before each read: a small one or, of scraps, one that may end
// in the midst of a header.
type stutter struct {
	src    io.Reader
	late   bool
	scraps bool
	n      int
}

func (s *stutter) Read(p []byte) (int, error) {
	s.late = !s.late
	if s.late {
		return 0, os.ErrDeadlineExceeded
	}
	most := 700
	if s.scraps {
		s.n = (5*s.n + 3) % 23
		most = 1 + s.n
	}
	return s.src.Read(p[:min(len(p), most)])
}

func readAllRetrying(src io.Reader, max int) []string {
	return readAllAgain(src, max, func(*Reader) {})
}

// readAllResting has the reader give its memory back whenever there is nothing
// to read.
func readAllResting(src io.Reader, max int) []string { return readAllAgain(src, max, (*Reader).Rest) }

func readAllAgain(src io.Reader, max int, late func(*Reader)) []string {
	retry := readerFunc(func(p []byte) (int, error) { return src.Read(p) })
	var got []string
	r := NewReader(retry, nil, max)
	for {
		m, err := r.Next()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			late(r)
			continue
		}
		var ce CloseError
		switch {
		case errors.As(err, &ce):
			return append(got, fmt.Sprintf("close %d", ce.Code))
		case err != nil:
			return append(got, err.Error())
		}
		s := string(m.Data)
		if len(s) > 40 {
			s = fmt.Sprintf("%d bytes", len(s))
		}
		got = append(got, [...]string{Text: "text ", Ping: "ping ", Pong: "pong ", Close: fmt.Sprintf("closed %d ", m.Code)}[m.Kind]+s)
	}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestReaderTakesWhatTheHandshakeReadAhead(t *testing.T) {
	all := join(frame(fin|text, "<open/>"), frame(fin|text, strings.Repeat("y", 2000)), frame(fin|ping, "p"))
	for _, n := range []int{0, 3, 13, 100, 600, 1500, len(all)} {
		r := NewReader(bytes.NewReader(all[n:]), all[:n], testMax)
		for _, want := range []string{"<open/>", strings.Repeat("y", 2000), "p"} {
			m, err := r.Next()
			require.NoError(t, err)
			require.Equal(t, want, string(m.Data), "%d bytes early", n)
		}
	}
}

// Who takes a connection over behind a message misses nothing of what the client
// sent on at once.
func TestUnreadIsWhatComesNext(t *testing.T) {
	first := AppendClientText(nil, []byte("<open/>"))
	all := join(first, AppendClientText(nil, []byte(strings.Repeat("y", 70_000))), AppendClientText(nil, []byte(strings.Repeat("z", 300))))
	for _, early := range []int{0, 3, len(first), len(first) + 5, 9000, len(all)} {
		src := bytes.NewReader(all[early:])
		r := NewReader(src, all[:early], testMax)
		m, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, "<open/>", string(m.Data))
		rest, err := io.ReadAll(src)
		require.NoError(t, err)
		next := NewReader(bytes.NewReader(rest), r.Unread(), 100_000)
		for _, want := range []string{strings.Repeat("y", 70_000), strings.Repeat("z", 300)} {
			m, err := next.Next()
			require.NoError(t, err)
			require.Equal(t, want, string(m.Data), "%d bytes early", early)
		}
	}
}

// An announced length must not make us allocate; only bytes that came do.
func TestReaderMemoryFollowsBytesNotAnnouncements(t *testing.T) {
	in := append([]byte{fin | text, 0x80 | 127, 0, 0, 0, 0, 0, 0x9F, 0, 0}, make([]byte, 4)...) // 10 MB to come
	r := NewReader(bytes.NewReader(in), nil, 16<<20)
	_, err := r.Next()
	require.ErrorIs(t, err, io.ErrUnexpectedEOF)
	require.LessOrEqual(t, cap(*r.borrowed), 2*keepSize)
}

func TestReaderIdleKeepsNoMessageBuffer(t *testing.T) {
	r := NewReader(bytes.NewReader(frame(fin|text, strings.Repeat("x", 5000))), nil, testMax)
	_, err := r.Next()
	require.NoError(t, err)
	_, err = r.Next()
	require.Equal(t, io.EOF, err)
	require.Nil(t, r.borrowed)
}

func TestReaderRestsWithoutMemory(t *testing.T) {
	in := join(frame(fin|text, "<a/>"), frame(fin|text, "<b/>")[:5])
	r := NewReader(&stutter{src: bytes.NewReader(in)}, nil, testMax)
	for range 2 {
		_, err := r.Next()
		require.True(t, err == nil || errors.Is(err, os.ErrDeadlineExceeded))
	}
	_, err := r.Next()
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	r.Rest()
	require.Len(t, r.buf, 5, "what has come of a frame")
	r = NewReader(&stutter{src: bytes.NewReader(in[:10])}, nil, testMax)
	for range 3 {
		_, err = r.Next()
	}
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	r.Rest()
	require.Nil(t, r.buf)
	require.Nil(t, r.borrowed)
}

func TestReaderDoesNotAllocateForSmallMessages(t *testing.T) {
	one := frame(fin|text, "<iq type='get' id='p'><ping xmlns='urn:xmpp:ping'/></iq>")
	src := bytes.NewReader(nil)
	r := NewReader(src, nil, testMax)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		src.Reset(one)
		if m, err := r.Next(); err != nil || m.Kind != Text {
			t.Fatal(err)
		}
	}))
}

func TestSetLimit(t *testing.T) {
	in := join(frame(fin|text, "12345"), frame(fin|text, "12345"))
	r := NewReader(bytes.NewReader(in), nil, 5)
	_, err := r.Next()
	require.NoError(t, err)
	r.SetLimit(4)
	_, err = r.Next()
	require.ErrorIs(t, err, ErrTooLarge)
}

func TestServerFrames(t *testing.T) {
	require.Equal(t, []byte("\x81\x05hello"), AppendText(nil, []byte("hello")))
	require.Equal(t, []byte("\x81\x7e\x00\x7e"), AppendText(nil, make([]byte, 126))[:4])
	require.Equal(t, []byte("\x81\x7f\x00\x00\x00\x00\x00\x01\x00\x00"), AppendText(nil, make([]byte, 65536))[:10])
	require.Equal(t, []byte("\x8a\x01p"), AppendPong(nil, []byte("p")))
	require.Equal(t, []byte("\x88\x05\x03\xe8bye"), AppendClose(nil, StatusNormal, "bye"))
	require.Equal(t, []byte("\x88\x00"), AppendClose(nil, StatusNone, ""))
	require.Len(t, AppendClose(nil, StatusProtocol, strings.Repeat("x", 200)), 2+125)
}

func FuzzReader(f *testing.F) {
	for _, c := range readerCases {
		if len(c.in) < 4096 {
			f.Add(c.in)
		}
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		whole := readAll(bytes.NewReader(in), 4096)
		require.Equal(t, whole, readAll(iotest.OneByteReader(bytes.NewReader(in)), 4096))
		require.Equal(t, whole, readAllRetrying(&stutter{src: bytes.NewReader(in)}, 4096))
		require.Equal(t, whole, readAllResting(&stutter{src: bytes.NewReader(in), scraps: true}, 4096))
	})
}

func BenchmarkReader(b *testing.B) {
	for _, n := range []int{100, 1000, 30_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			one := frame(fin|text, strings.Repeat("x", n))
			src := bytes.NewReader(nil)
			r := NewReader(src, nil, testMax)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				src.Reset(one)
				if _, err := r.Next(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
