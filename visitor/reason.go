package visitor

import (
	"errors"
	"os"
	"strings"

	"vnode/fanout"
	"vnode/internal/wire"
	"vnode/visitor/bosh"
	"vnode/visitor/websocket"
)

// reason says why a stream ended: one value for the wire, the log and the
// metric.
type reason struct {
	label  fanout.Reason
	stream wire.StreamError     // said to the client, unless zero
	frame  websocket.CloseError // in place of it: the client broke RFC 6455
	gone   bool                 // the client cannot be told anything any more
}

// Reasons without a stream error.
const (
	reasonClosed       fanout.Reason = "closed"       // the client ended its stream
	reasonDisconnected fanout.Reason = "disconnected" // the connection broke off
	reasonWebSocket    fanout.Reason = "websocket_protocol"
	reasonTLS          fanout.Reason = "tls"
	reasonBOSH         fanout.Reason = "bosh_protocol"       // the client broke XEP-0124, and has been told
	reasonExpired      fanout.Reason = "hibernation_expired" // not resumed in time
	reasonEvicted      fanout.Reason = "hibernation_evicted" // too many others hibernate
)

// peerClosed is a WebSocket close frame of the client, to be echoed (RFC 6455
// §5.5.1).
type peerClosed struct{ code websocket.StatusCode }

func (peerClosed) Error() string { return "close frame" }

var (
	errClosed = errors.New("closed by the client")
	errTLS    = errors.New("TLS handshake failed")
	errNoTLS  = errors.New("STARTTLS not available")

	// errInterrupted: reading was interrupted; whoever did it has said why.
	errInterrupted = errors.New("interrupted")
	errExpired     = errors.New("not resumed in time")
	errEvicted     = errors.New("too many hibernate")
	errOverrun     = errors.New("what the client has missed is no longer kept")
)

// Stream errors this package finds itself.
var (
	errTooLarge        = wire.StreamError{Condition: wire.PolicyViolation, Text: "stanza too large"}
	errUnsupported     = wire.StreamError{Condition: wire.UnsupportedStanzaType}
	errSilent          = wire.StreamError{Condition: wire.ConnectionTimeout}
	errShutdown        = wire.StreamError{Condition: wire.SystemShutdown}
	errReplaced        = wire.StreamError{Condition: wire.Conflict, Text: "replaced by a new connection"}
	errPanicked        = wire.StreamError{Condition: wire.InternalServerError}
	errBusy            = wire.StreamError{Condition: wire.ResourceConstraint, Text: "too many connections"}
	errSlow            = wire.StreamError{Condition: wire.PolicyViolation, Text: "stanzas are not taken fast enough"}
	errNoTo            = wire.StreamError{Condition: wire.ImproperAddressing, Text: "A 'to' attribute is required on stream headers"}
	errNoHeader        = wire.StreamError{Condition: wire.InvalidXML, Text: "stream header expected"}
	errSecondHeader    = wire.StreamError{Condition: wire.InvalidXML, Text: "unexpected stream header"}
	errOtherHost       = wire.StreamError{Condition: wire.NotAuthorized, Text: "stream restarted for another domain"}
	errTooManyElements = wire.StreamError{Condition: wire.PolicyViolation, Text: "too many elements before login"}
	errTooManyLogins   = wire.StreamError{Condition: wire.PolicyViolation, Text: "too many failed logins"}
	errTooMuchAcked    = wire.StreamError{Condition: wire.UndefinedCondition, Text: "Client acknowledged more stanzas than sent by server"}
	errTakenOver       = wire.StreamError{Condition: wire.Conflict, Text: "resumed on a new connection"}
	errBadAck          = wire.StreamError{Condition: wire.UndefinedCondition, Text: "Client sent an unreadable acknowledgement"}
)

// reasonOf classifies the error that ended a stream.
func reasonOf(err error) reason {
	var frame websocket.CloseError
	var stream wire.StreamError
	var peer peerClosed
	var breach bosh.Error
	switch {
	case errors.As(err, &peer):
		return reason{label: reasonClosed, frame: websocket.CloseError{Code: peer.code, Text: "Goodbye"}}
	case errors.Is(err, errClosed):
		return reason{label: reasonClosed}
	case errors.As(err, &frame):
		return reason{label: reasonWebSocket, frame: frame}
	case errors.Is(err, websocket.ErrTooLarge):
		return streamReason(errTooLarge)
	case errors.As(err, &stream):
		return streamReason(stream)
	case errors.As(err, &breach):
		return reason{label: reasonBOSH, gone: true}
	case errors.Is(err, bosh.ErrInactive):
		return reason{label: streamReason(errSilent).label, gone: true}
	case errors.Is(err, bosh.ErrBroken):
		return reason{label: streamReason(errPanicked).label, gone: true}
	case errors.Is(err, errTLS):
		return reason{label: reasonTLS, gone: true}
	case errors.Is(err, errNoTLS):
		return reason{label: reasonTLS}
	case errors.Is(err, errExpired):
		return reason{label: reasonExpired, gone: true}
	case errors.Is(err, errEvicted):
		return reason{label: reasonEvicted, gone: true}
	case errors.Is(err, errOverrun):
		return reason{label: fanout.SlowConsumer, stream: errSlow}
	case isTimeout(err):
		return streamReason(errSilent)
	}
	return reason{label: reasonDisconnected, gone: true}
}

func streamReason(e wire.StreamError) reason {
	return reason{label: fanout.Reason(strings.ReplaceAll(string(e.Condition), "-", "_")), stream: e}
}

// isTimeout reports whether a deadline of ours has passed. The kernel's own
// timeouts are a broken connection.
func isTimeout(err error) bool { return errors.Is(err, os.ErrDeadlineExceeded) }

// labels is the closed set of reasons, for the metric.
func labels() []string {
	l := []string{
		string(reasonClosed), string(reasonDisconnected), string(reasonWebSocket), string(reasonTLS), string(reasonBOSH),
		string(reasonExpired), string(reasonEvicted),
		string(fanout.SlowConsumer), string(fanout.Stalled), string(fanout.WriteFailed), string(fanout.BroadcasterClosed),
	}
	for _, c := range []wire.StreamCondition{
		wire.BadFormat, wire.BadNamespacePrefix, wire.Conflict, wire.ConnectionTimeout, wire.HostUnknown, wire.InternalServerError,
		wire.ImproperAddressing, wire.InvalidNamespace, wire.InvalidXML, wire.NotAuthorized, wire.NotWellFormed,
		wire.PolicyViolation, wire.Reset, wire.ResourceConstraint, wire.RestrictedXML, wire.SystemShutdown,
		wire.UndefinedCondition, wire.UnsupportedEncoding, wire.UnsupportedStanzaType, wire.UnsupportedVersion,
	} {
		l = append(l, string(streamReason(wire.StreamError{Condition: c}).label))
	}
	return l
}
