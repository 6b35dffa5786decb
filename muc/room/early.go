package room

import "vnode/internal/wire"

// early holds what participants said, changed or ended before their join came.
//
// Prosody 0.12 reorders stanzas while a stream of its own comes up: what is
// routed between SASL success and the end of the negotiation overtakes its
// queue. Until main has sent connect, whose place is behind the joins, a
// stranger's stanza is therefore kept. Afterwards it is a stranger's.
type early struct {
	stanzas []earlyStanza
	bytes   int
}

type earlyStanza struct {
	from   wire.JID
	stanza []byte
}

// Bounds of early: a stream comes up within milliseconds.
const (
	maxEarly      = 256
	maxEarlyBytes = 1 << 20
)

// holds keeps the stanza if its sender has yet to join and reports whether it
// did.
func (e *early) holds(r *conference, from wire.JID, h *wire.Header, stanza []byte) bool {
	if r.connected || from.Resource == "" || !r.domains.OfParticipants(from.Domain) || r.jids.Get(from) != nil {
		return false
	}
	switch string(h.Name) {
	case "presence":
		if _, joins := wire.FindChild(stanza, wire.NSMUC, "x"); joins {
			return false
		}
	case "message":
		if string(h.Type) != groupchat {
			return false
		}
	default:
		return false
	}
	if len(e.stanzas) >= maxEarly || e.bytes+len(stanza) > maxEarlyBytes {
		return false
	}
	e.stanzas = append(e.stanzas, earlyStanza{from, clone(stanza)})
	e.bytes += len(stanza)
	return true
}

// replayEarly handles what was held, in its order. The room is connected:
// nothing is held again.
func (r *conference) replayEarly() {
	held := r.early.stanzas
	r.early = early{}
	for _, s := range held {
		r.fromRemote(r.now, s.from, s.stanza)
	}
}
