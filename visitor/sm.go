package visitor

import (
	"strconv"
	"time"

	"vnode/fanout"
	"vnode/internal/wire"
)

// Stream management, XEP-0198: its elements. Resumption is in resume.go.

var (
	ackRequest = fanout.NewNonza([]byte("<r xmlns='" + wire.NSSM + "'/>"))
	smEnabled  = []byte("<enabled xmlns='" + wire.NSSM + "'/>")
)

// smFailed encodes <failed/> with a stanza error condition (XEP-0198 §7).
func smFailed(condition string) []byte {
	return wire.NewBuilder(nil).Start("failed", "xmlns", wire.NSSM).
		Elem(condition, "", "xmlns", wire.NSStanzas).Bytes()
}

// streamManagement acts on an element of XEP-0198 before bind.
func (n *negotiation) streamManagement(h *wire.Header, local string) error {
	if local == "resume" && n.who.user != "" && n.t.output().acks {
		return n.resume(h)
	}
	return n.flush(smFailed("unexpected-request")) // it comes too early
}

// streamManagement acts on an element of XEP-0198 after bind.
func (s *Session) streamManagement(h *wire.Header, local string) error {
	switch local {
	case "enable":
		if !s.acks.Load() && s.current.Load().t.output().acks {
			s.enable(h)
			return nil
		}
	case "r":
		if s.acks.Load() {
			s.Deliver(nil, s.answerAck())
			return nil
		}
	case "a":
		if s.acks.Load() {
			return s.acked(h)
		}
	case "resume":
	default:
		return errUnsupported
	}
	s.Deliver(nil, fanout.NewNonza(smFailed("unexpected-request")))
	return nil
}

// enable starts to count and, if the client wants it, makes the session
// resumable (XEP-0198 §3 and §5).
func (s *Session) enable(h *wire.Header) {
	s.acks.Store(true)
	if want := h.Attr("resume"); want != "true" && want != "1" {
		s.fan.EnableAcks(fanout.NewNonza(smEnabled), false)
		return
	}
	s.hibernation = s.host.hibernation
	if n, err := strconv.ParseUint(h.Attr("max"), 10, 31); err == nil && n > 0 {
		s.hibernation = min(s.hibernation, time.Duration(n)*time.Second)
	}
	id := newID()
	s.srv.makeResumable(s, hashID(id))
	s.fan.EnableAcks(fanout.NewNonza(wire.NewBuilder(nil).Elem("enabled", "", "xmlns", wire.NSSM,
		"id", id, "resume", "true", "max", strconv.Itoa(int(s.hibernation/time.Second))).Bytes()), true)
}

// acked takes the client's count of our stanzas.
func (s *Session) acked(h *wire.Header) error {
	n, err := parseCount(h)
	if err != nil {
		return err
	}
	if s.fan.Acked(n) != nil {
		return errTooMuchAcked
	}
	return nil
}

// parseCount reads the 'h' of an element.
func parseCount(h *wire.Header) (uint32, error) {
	n, err := strconv.ParseUint(h.Attr("h"), 10, 32)
	if err != nil {
		return 0, errBadAck
	}
	return uint32(n), nil
}

// answerAck is our count of the client's stanzas.
func (s *Session) answerAck() *fanout.Message {
	return fanout.NewNonza(wire.NewBuilder(nil).Elem("a", "", "xmlns", wire.NSSM, "h", s.handled()).Bytes())
}
