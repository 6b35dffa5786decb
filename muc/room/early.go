package room

import "vnode/internal/wire"

// early holds what participants said, changed or ended before their join came.
//
// Prosody 0.12 reorders stanzas while a stream of its own comes up: what is
// routed between SASL success and the end of the negotiation overtakes its
// queue. Until main has sent connect, whose place is behind the joins, a
// stranger's stanza is therefore kept. Afterwards it is a stranger's.
type early struct {
	stanzas []*wire.Stanza
	bytes   int
}

// Bounds of early: a stream comes up within milliseconds.
const (
	maxEarly      = 256
	maxEarlyBytes = 1 << 20
)

// holds keeps the stanza if its sender has yet to join and reports whether it
// did.
func (e *early) holds(r *conference, st *wire.Stanza) bool {
	if r.connected || st.From.Resource == "" || !r.domains.OfParticipants(st.From.Domain) || r.jids.Get(st.From) != nil {
		return false
	}
	switch string(st.Name) {
	case "presence":
		if _, joins := st.Child(wire.NSMUC, "x"); joins {
			return false
		}
	case "message":
		if string(st.Type) != groupchat {
			return false
		}
	default:
		return false
	}
	if len(e.stanzas) >= maxEarly || e.bytes+len(st.Raw) > maxEarlyBytes {
		return false
	}
	e.stanzas = append(e.stanzas, st)
	e.bytes += len(st.Raw)
	return true
}

// replayEarly handles what was held, in its order. The room is connected:
// nothing is held again.
func (r *conference) replayEarly() {
	held := r.early.stanzas
	r.early = early{}
	for _, s := range held {
		r.fromRemote(r.now, s)
	}
}
