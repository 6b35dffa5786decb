package bosh

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"vnode/internal/wire"
)

const (
	nsBind  = "http://jabber.org/protocol/httpbind"
	nsXBOSH = "urn:xmpp:xbosh" // XEP-0206
)

// Condition is a terminal binding condition: why a session was refused or
// ended (XEP-0124 §17.2).
type Condition string

// The conditions this package finds itself.
const (
	BadRequest          Condition = "bad-request"
	ImproperAddressing  Condition = "improper-addressing"
	ItemNotFound        Condition = "item-not-found"
	PolicyViolation     Condition = "policy-violation"
	internalServerError Condition = "internal-server-error"
	remoteStreamError   Condition = "remote-stream-error"
	undefinedCondition  Condition = "undefined-condition"
)

// creationConditions are the stream errors that BOSH has a condition of its own
// for. They are used to refuse a session; later, as Prosody does it, a stream
// error is told as one.
var creationConditions = []wire.StreamCondition{
	wire.HostGone, wire.HostUnknown, wire.ImproperAddressing, wire.InternalServerError, wire.PolicyViolation,
	wire.SystemShutdown,
}

// Error is a client's breach of BOSH, which has ended its session. The client
// has been told.
type Error struct {
	Condition Condition
	Text      string // for people
}

// Error implements error.
func (e Error) Error() string { return "bosh: " + string(e.Condition) + ": " + e.Text }

var (
	errBody      = Error{BadRequest, "not a <body/> of XEP-0124"}
	errNumber    = Error{BadRequest, "rid, wait, hold or pause is not a number in range"}
	errTooLarge  = Error{PolicyViolation, "body too large"}
	errTooFull   = Error{PolicyViolation, "too many elements in a body"}
	errWindow    = Error{ItemNotFound, "rid outside of the window"}
	errGap       = Error{ItemNotFound, "a request has not come"}
	errKey       = Error{ItemNotFound, "wrong key"}
	errTooMany   = Error{PolicyViolation, "too many simultaneous requests"}
	errTooFast   = Error{PolicyViolation, "polling too fast"}
	errTooLong   = Error{PolicyViolation, "pause too long"}
	errNoTo      = Error{ImproperAddressing, "no 'to'"}
	errNoSession = Error{ItemNotFound, "no such session"}
)

// maxRID is the largest rid, XEP-0124 §14.1: what a double holds exactly.
const maxRID = 1<<53 - 1

// maxElements is how many elements a body may hold: an element of four bytes
// costs us much more.
const maxElements = 256

// request is a <body/> a client sent.
type request struct {
	sid       string // empty: it asks for a session
	rid       uint64
	to, lang  string
	ver       string // of BOSH
	version   string // of XMPP
	wait      time.Duration
	hold      int
	pause     time.Duration
	terminate bool
	restart   bool
	key       string
	newKey    string
	elements  [][]byte // parts of the bytes it was parsed from
}

// poll reports whether the request only asks for what there is.
func (r *request) poll() bool {
	return r.sid != "" && len(r.elements) == 0 && !r.terminate && !r.restart && r.pause == 0
}

// parseRequest reads b, which it keeps. The sid is returned with the error too,
// where there is one: the session ends.
func parseRequest(b []byte, maxBytes int) (*request, error) {
	all := len(b)
	b, err := wire.SkipProlog(b)
	if err != nil {
		return &request{}, fmt.Errorf("%w: %w", errBody, err)
	}
	h, err := wire.ParseHeader(b)
	if err != nil {
		return &request{}, fmt.Errorf("%w: %w", errBody, err)
	}
	r := &request{sid: h.Attr("sid")}
	if all > maxBytes {
		return r, errTooLarge
	}
	if err := wire.CheckWellFormed(b, wire.Limits{MaxBytes: maxBytes}); err != nil {
		return r, fmt.Errorf("%w: %w", errBody, err)
	}
	if space, local := h.QName(); local != "body" || space != nsBind {
		return r, errBody
	}
	if err := r.attributes(&h); err != nil {
		return r, err
	}
	// Elements leave the body, and take what they need of its prefixes along.
	prefixes := h.Prefixes()
	for c := range wire.Children(b) {
		if len(r.elements) == maxElements {
			return r, errTooFull
		}
		r.elements = append(r.elements, prefixes.Declare(c.Raw))
	}
	return r, nil
}

// sidOf returns the sid of a <body/> of which at least the start tag is there,
// or "".
func sidOf(b []byte) string {
	b, err := wire.SkipProlog(b)
	if err != nil {
		return ""
	}
	h, err := wire.ParseHeader(b)
	if err != nil {
		return ""
	}
	return h.Attr("sid")
}

func (r *request) attributes(h *wire.Header) error {
	r.to, r.lang = wire.Unescape(h.To), wire.Unescape(h.Lang)
	r.terminate = string(h.Type) == "terminate"
	r.ver, r.key, r.newKey = h.Attr("ver"), h.Attr("key"), h.Attr("newkey")
	r.version = xbosh(h, "version")
	restart := xbosh(h, "restart")
	r.restart = restart == "true" || restart == "1"

	var ok [4]bool
	r.rid, ok[0] = number(h.Attr("rid"), maxRID)
	ok[0] = ok[0] && r.rid > 0
	r.hold, ok[1] = 1, true
	if s := h.Attr("hold"); s != "" {
		var hold uint64
		hold, ok[1] = number(s, 255)
		r.hold = int(min(hold, maxHold))
	}
	r.wait, ok[2] = seconds(h.Attr("wait"), r.sid != "")
	r.pause, ok[3] = seconds(h.Attr("pause"), true)
	if slices.Contains(ok[:], false) {
		return errNumber
	}
	return nil
}

// xbosh returns the attribute of XEP-0206's namespace with that local name.
func xbosh(h *wire.Header, local string) string {
	for name, value := range h.Attrs() {
		prefix, l, found := strings.Cut(string(name), ":")
		if found && l == local && h.Attr("xmlns:"+prefix) == nsXBOSH {
			return wire.Unescape(value)
		}
	}
	return ""
}

// seconds reads a time of at most 18 hours.
func seconds(s string, optional bool) (time.Duration, bool) {
	if s == "" {
		return 0, optional
	}
	n, ok := number(s, 65535)
	return time.Duration(n) * time.Second, ok
}

func number(s string, max uint64) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && n <= max
}

// bodyTag starts every <body/> of ours. It declares the stream prefix, so that
// features and stream errors need not.
const bodyTag = "<body xmlns='" + nsBind + "' xmlns:stream='" + wire.NSStream + "'"

// appendBody appends a <body/> with encoded attributes around payload.
func appendBody(dst []byte, attrs, payload []byte) []byte {
	dst = append(append(dst, bodyTag...), attrs...)
	if len(payload) == 0 {
		return append(dst, "/>"...)
	}
	dst = append(append(dst, '>'), payload...)
	return append(dst, "</body>"...)
}

// terminateBody says that a session has ended, in order when there is no
// condition.
func terminateBody(cond Condition, payload []byte) []byte {
	attrs := wire.AppendAttr(nil, "type", "terminate")
	if cond != "" {
		attrs = wire.AppendAttr(attrs, "condition", string(cond))
	}
	return appendBody(nil, attrs, payload)
}

const (
	streamErrorStart = "<stream:error"
	streamErrorEnd   = "</stream:error>"
)

// endsWithError reports whether the last of elems is a stream error, behind
// which nothing but the end can follow (RFC 6120 §4.9.1.1).
func endsWithError(elems []byte) bool { return bytes.HasSuffix(elems, []byte(streamErrorEnd)) }

// conditionOf says why a session ends whose last output was elems.
func conditionOf(elems []byte, creating bool) Condition {
	if !endsWithError(elems) {
		return ""
	}
	e := wire.ParseStreamError(elems[bytes.LastIndex(elems, []byte(streamErrorStart)):])
	if creating && slices.Contains(creationConditions, e.Condition) {
		return Condition(e.Condition)
	}
	return remoteStreamError
}

// version answers a client's 'ver' with the lower of its and ours (XEP-0124
// §7.1). Jitsi's clients say 1.6, and so does who says nothing sensible.
func version(asked string) string {
	const ours, fallback = 11, "1.6"
	minor, found := strings.CutPrefix(asked, "1.")
	n, ok := number(minor, 1000)
	if !found || !ok {
		return fallback
	}
	return "1." + strconv.FormatUint(min(n, ours), 10)
}
