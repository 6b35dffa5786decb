package wire

import (
	"errors"
	"strings"
)

// StreamCondition is a defined condition of a stream error, RFC 6120 §4.9.3.
type StreamCondition string

// The conditions this project sends or understands, RFC 6120 §4.9.3.
const (
	BadFormat             StreamCondition = "bad-format"
	BadNamespacePrefix    StreamCondition = "bad-namespace-prefix"
	Conflict              StreamCondition = "conflict"
	ConnectionTimeout     StreamCondition = "connection-timeout"
	HostGone              StreamCondition = "host-gone"
	HostUnknown           StreamCondition = "host-unknown"
	ImproperAddressing    StreamCondition = "improper-addressing"
	InternalServerError   StreamCondition = "internal-server-error"
	InvalidFrom           StreamCondition = "invalid-from"
	InvalidNamespace      StreamCondition = "invalid-namespace"
	InvalidXML            StreamCondition = "invalid-xml"
	NotAuthorized         StreamCondition = "not-authorized"
	NotWellFormed         StreamCondition = "not-well-formed"
	PolicyViolation       StreamCondition = "policy-violation"
	Reset                 StreamCondition = "reset"
	ResourceConstraint    StreamCondition = "resource-constraint"
	RestrictedXML         StreamCondition = "restricted-xml"
	SystemShutdown        StreamCondition = "system-shutdown"
	UndefinedCondition    StreamCondition = "undefined-condition"
	UnsupportedEncoding   StreamCondition = "unsupported-encoding"
	UnsupportedStanzaType StreamCondition = "unsupported-stanza-type"
	UnsupportedVersion    StreamCondition = "unsupported-version"
)

// StreamError ends a stream: it is an error for the code and, by
// [StreamError.Append], the <stream:error/> for the peer (RFC 6120 §4.9).
// The zero value is no error.
type StreamError struct {
	Condition StreamCondition
	Text      string // for people; may be empty
}

// Error implements error.
func (e StreamError) Error() string {
	if e.Text == "" {
		return "stream error: " + string(e.Condition)
	}
	return "stream error: " + string(e.Condition) + ": " + e.Text
}

// Append appends the <stream:error/> element to dst. With declare the stream
// prefix is declared on it, as a WebSocket frame needs (RFC 7395 §3.3.1); a
// TCP stream has declared it in its header.
func (e StreamError) Append(dst []byte, declare bool) []byte {
	dst = append(dst, "<stream:error"...)
	if declare {
		dst = AppendAttr(dst, "xmlns:stream", NSStream)
	}
	dst = append(dst, "><"...)
	dst = append(dst, e.Condition...)
	dst = append(dst, " xmlns='"+NSStreams+"'/>"...)
	if e.Text != "" {
		dst = append(dst, "<text xmlns='"+NSStreams+"'>"...)
		dst = AppendText(dst, e.Text)
		dst = append(dst, "</text>"...)
	}
	return append(dst, "</stream:error>"...)
}

// AsStreamError returns the StreamError in err's tree, or undefined-condition
// when there is none: whatever ended a stream can be said on the wire.
func AsStreamError(err error) StreamError {
	var e StreamError
	if errors.As(err, &e) {
		return e
	}
	return StreamError{Condition: UndefinedCondition}
}

// ParseStreamError reads a <stream:error/> element received from a peer. An
// element without a known child yields undefined-condition.
func ParseStreamError(elem []byte) StreamError {
	e := StreamError{Condition: UndefinedCondition}
	for c := range Children(elem) {
		if c.Space != NSStreams {
			continue
		}
		if c.Local == "text" {
			e.Text = c.Text()
			continue
		}
		e.Condition = StreamCondition(strings.Clone(c.Local)) // elem is often a reader's buffer
	}
	return e
}

func streamErr(c StreamCondition, text string) error {
	return StreamError{Condition: c, Text: text}
}

// Errors of framing and checking, shared so that none allocates on bad input.
var (
	errNotWellFormed = streamErr(NotWellFormed, "")
	errRestricted    = streamErr(RestrictedXML, "comments, processing instructions and document types are not allowed")
	errTooLarge      = streamErr(PolicyViolation, "stanza too large")
	errTooDeep       = streamErr(PolicyViolation, "elements nested too deeply")
	errTooManyAttrs  = streamErr(PolicyViolation, "too many attributes")
	errPrefix        = streamErr(BadNamespacePrefix, "")
	errSecondHeader  = streamErr(InvalidXML, "unexpected stream header")
	errEncoding      = streamErr(UnsupportedEncoding, "")
)
