package room

import (
	"time"

	"vnode/internal/wire"
)

// waitlist holds, in order, the visitors whose join came before its room: a node
// was restarted, or jicofo has yet to make the room again. An error would leave
// their pages where they are for ever.
type waitlist struct {
	order []*joiner // nil for those that went
	index map[Session]*joiner
	bytes int
}

// joiner is a visitor with its latest join.
type joiner struct {
	session Session
	who     Who
	nick    string
	stanza  *wire.Stanza
	since   time.Time
}

// maxWaitBytes bounds the joins that wait for one room; MaxQueued their number.
const maxWaitBytes = 512 << 10

func (l *waitlist) len() int { return len(l.index) }

// put adds a visitor, in place of an earlier join of the same session.
func (l *waitlist) put(w *joiner) {
	if old := l.index[w.session]; old != nil {
		l.bytes += len(w.stanza.Raw) - len(old.stanza.Raw)
		old.who, old.nick, old.stanza = w.who, w.nick, w.stanza
		return
	}
	l.bytes += len(w.stanza.Raw)
	l.index[w.session] = w
	l.order = append(l.order, w)
}

// drop takes a session out; nil when it does not wait.
func (l *waitlist) drop(s Session) *joiner {
	w := l.index[s]
	if w == nil {
		return nil
	}
	delete(l.index, s)
	l.bytes -= len(w.stanza.Raw)
	kept := l.order[:0]
	for _, x := range l.order {
		if x != w {
			kept = append(kept, x)
		}
	}
	clear(l.order[len(kept):])
	l.order = kept
	return w
}

// take empties the list and returns it.
func (l *waitlist) take() []*joiner {
	all := l.order
	l.order, l.bytes = nil, 0
	clear(l.index)
	return all
}

// waited is what became of a join that waited; it is a metric label.
type waited string

const (
	waitedForRoom waited = "room_came"
	waitedInVain  waited = "hung_up"
	waitedAndLeft waited = "left"
)

var allWaits = []waited{waitedForRoom, waitedInVain, waitedAndLeft}

// wait lets a visitor's join wait for a room, unless too many do.
func (h *Room) wait(from Session, who Who, st *wire.Stanza) {
	switch {
	case len(st.Raw) > h.cfg.MaxPresence:
		h.metrics.Refused(refusedSize).Inc()
		h.refuse(from, st, errBigPresence)
		return
	case h.waiting.index[from] == nil && (h.waiting.len() >= h.cfg.MaxQueued || h.waiting.bytes+len(st.Raw) > maxWaitBytes):
		h.hangUp(from)
		return
	}
	h.waiting.put(&joiner{session: from, who: who, nick: st.To.Resource, stanza: st, since: h.now})
}

// hangUp lets a visitor whose room has not come reload its page.
func (h *Room) hangUp(s Session) {
	h.metrics.Refused(RefusedNoRoom).Inc()
	h.metrics.joinsWaited(waitedInVain).Inc()
	h.out.HangUp(s)
}

// lookAtWaiting lets those reload who have waited long enough. While an audience
// is held they wait as long as it does: nobody may ask jicofo before the
// participants have.
func (h *Room) lookAtWaiting() {
	if h.held != nil && h.held.phase != telling {
		return
	}
	for _, w := range append([]*joiner(nil), h.waiting.order...) {
		if h.now.Sub(w.since) >= h.cfg.Comeback.JoinWait {
			h.waiting.drop(w.session)
			h.hangUp(w.session)
		}
	}
}
