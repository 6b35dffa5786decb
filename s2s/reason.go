package s2s

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"

	"vnode/internal/wire"
)

// Reason says why a stream ended or could not be opened. It is what logs show
// under "reason" and the label of vnode_s2s_closed_total and
// vnode_s2s_connect_failures_total: a closed set.
type Reason string

// The reasons. Those with a stream error send it to the peer.
const (
	// Closed: the peer closed its stream, or a dialback check was done.
	Closed Reason = "closed"
	// Shutdown: Server.Close.
	Shutdown Reason = "shutdown"
	// Lost: the connection broke without a closing tag.
	Lost Reason = "connection_lost"
	// Timeout: the peer was too slow in a phase of the negotiation.
	Timeout Reason = "timeout"
	// Stalled: the peer took no bytes for WriteTimeout, or said nothing at all
	// for LossTimeout though it had to answer.
	Stalled Reason = "stalled"
	// Busy: too many connections (resource-constraint).
	Busy Reason = "busy"
	// Unresolved: the configured name has no address.
	Unresolved Reason = "unresolved"
	// Unreachable: nothing answers at the configured address.
	Unreachable Reason = "unreachable"
	// TLSFailed: the handshake failed or STARTTLS was refused.
	TLSFailed Reason = "tls_failed"
	// BadCertificate: the peer we dialed showed a certificate Trust refuses.
	BadCertificate Reason = "bad_certificate"
	// HostUnknown: the stream is for a domain not served here (host-unknown).
	HostUnknown Reason = "host_unknown"
	// NotAllowed: the peer is not in Peers (policy-violation).
	NotAllowed Reason = "not_allowed"
	// OwnHost: the peer claims to be one of Hosts (undefined-condition).
	OwnHost Reason = "own_host"
	// Unauthenticated: stanzas before authentication (not-authorized).
	Unauthenticated Reason = "unauthenticated"
	// AuthFailed: SASL or dialback failed (not-authorized).
	AuthFailed Reason = "auth_failed"
	// NoMethod: no way to authenticate that both sides accept.
	NoMethod Reason = "no_auth_method"
	// ForeignFrom: a stanza from a domain the stream did not prove
	// (invalid-from).
	ForeignFrom Reason = "foreign_from"
	// BadAddress: missing or malformed addresses (improper-addressing).
	BadAddress Reason = "bad_address"
	// BadXML: not XMPP's XML, or beyond the limits; the error says which.
	BadXML Reason = "bad_xml"
	// BadProtocol: good XML out of place; the error says which.
	BadProtocol Reason = "bad_protocol"
	// Panicked: the stream met a fault of the program (internal-server-error).
	Panicked Reason = "panic"
	// PeerError: the peer ended the stream with a stream error.
	PeerError Reason = "peer_error"
)

var reasons = []Reason{
	Closed, Shutdown, Lost, Timeout, Stalled, Busy, Unresolved, Unreachable, TLSFailed, BadCertificate, HostUnknown,
	NotAllowed, OwnHost, Unauthenticated, AuthFailed, NoMethod, ForeignFrom, BadAddress, BadXML, BadProtocol, Panicked, PeerError,
}

// ending is how a stream ended: the Reason, what the peer is told, and what we
// know beyond that. It is the error of everything that can end a stream.
type ending struct {
	reason Reason
	tell   wire.StreamError // zero: nothing but </stream:stream>
	cause  error            // may be nil
}

func (e *ending) Error() string {
	switch {
	case e.cause != nil:
		return fmt.Sprintf("%s: %v", e.reason, e.cause)
	case e.tell.Condition != "":
		return fmt.Sprintf("%s: %v", e.reason, e.tell)
	}
	return string(e.reason)
}

func (e *ending) Unwrap() error { return e.cause }

// refuse ends a stream with a stream error.
func refuse(r Reason, c wire.StreamCondition, text string) *ending {
	return &ending{reason: r, tell: wire.StreamError{Condition: c, Text: text}}
}

// because ends a stream the peer is told nothing about.
func because(r Reason, cause error) *ending { return &ending{reason: r, cause: cause} }

// peerError is the ending after a <stream:error/> was received.
func peerError(elem []byte) *ending {
	e := wire.ParseStreamError(elem)
	e.Condition, e.Text = wire.StreamCondition(short(string(e.Condition))), short(e.Text)
	return &ending{reason: PeerError, cause: e}
}

// short cuts what a peer said to what a log line can bear.
func short(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}

// endingOf turns any error of reading or writing a stream into an ending.
// phase says what was waited for.
func endingOf(err error, phase string) *ending {
	var e *ending
	var s wire.StreamError
	switch {
	case errors.As(err, &e):
		return e
	case errors.As(err, &s):
		return &ending{reason: BadXML, tell: s}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return refuse(Timeout, wire.ConnectionTimeout, "no "+phase+" in time")
	case errors.Is(err, io.EOF):
		return because(Lost, errors.New("connection closed without a closing tag"))
	}
	return because(Lost, err)
}

// dialEnding classifies a failed connect.
func dialEnding(err error) *ending {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return because(Unresolved, err)
	}
	return because(Unreachable, err)
}

// condition is the stream error this ending carries in either direction.
func (e *ending) condition() wire.StreamError {
	if e.reason == PeerError {
		return wire.AsStreamError(e.cause)
	}
	return e.tell
}

// gone reports whether the peer, as far as one can know, does not exist: the
// difference between remote-server-not-found and -timeout (RFC 6120
// §8.3.3.16, §8.3.3.17).
func (e *ending) gone() bool {
	if e == nil {
		return false
	}
	return e.reason == Unresolved || e.condition().Condition == wire.HostUnknown || errors.Is(e, syscall.EHOSTUNREACH)
}
