package visitor

import (
	"strconv"

	"vnode/fanout"
	"vnode/internal/wire"
)

// Stream management, XEP-0198, without resumption: the session's end is final,
// and <enabled/> says so by offering none.

var (
	smRequest = []byte("<r xmlns='" + wire.NSSM + "'/>")
	smEnabled = []byte("<enabled xmlns='" + wire.NSSM + "'/>")
)

// smFailed encodes <failed/> with a stanza error condition (XEP-0198 §7).
func smFailed(condition string) []byte {
	return wire.NewBuilder(nil).Start("failed", "xmlns", wire.NSSM).
		Elem(condition, "", "xmlns", wire.NSStanzas).Bytes()
}

// refuseSM answers an element of stream management before bind. Nothing can be
// resumed, so a <resume/> finds nothing; the rest comes too early.
func refuseSM(h *wire.Header, loggedIn bool) []byte {
	if string(h.Name) == "resume" && loggedIn {
		return smFailed("item-not-found")
	}
	return smFailed("unexpected-request")
}

// streamManagement acts on an element of XEP-0198 after bind.
func (s *Session) streamManagement(h *wire.Header) error {
	switch string(h.Name) {
	case "enable":
		if !s.acks.Load() {
			s.acks.Store(true)
			s.fan.EnableAcks(fanout.NewNonza(smEnabled))
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

// acked takes the client's count of our stanzas.
func (s *Session) acked(h *wire.Header) error {
	n, err := strconv.ParseUint(h.Attr("h"), 10, 32)
	if err != nil {
		return errBadAck
	}
	if s.fan.Acked(uint32(n)) != nil {
		return errTooMuchAcked
	}
	return nil
}

// answerAck is our count of the client's stanzas.
func (s *Session) answerAck() *fanout.Message {
	return fanout.NewNonza(wire.NewBuilder(nil).
		Elem("a", "", "xmlns", wire.NSSM, "h", strconv.FormatUint(uint64(s.counted.Load()), 10)).Bytes())
}
