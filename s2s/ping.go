package s2s

import (
	"bytes"
	"crypto/rand"
	"errors"
	"time"

	"vnode/internal/wire"
)

// pingPrefix begins the ids of our pings; what follows nobody can guess.
const pingPrefix = "s2s-ping-"

// appendQuestion asks the peer what it has handled. st.mu is held.
func (st *stream) appendQuestion(b []byte, now time.Time) []byte {
	if st.acks.how == ackSM {
		st.acks.ask(now, "", st.heard.Load())
		return append(b, smRequest...)
	}
	id := pingPrefix + rand.Text()
	st.acks.ask(now, id, st.heard.Load())
	w := wire.NewBuilder(b).Start("iq", "type", "get", "id", id, "from", st.local, "to", st.remote)
	return w.Elem("ping", "", "xmlns", wire.NSPing).Bytes()
}

// learnWhatArrives begins to ping on a stream that has no better way to learn
// what the peer has handled.
func (st *stream) learnWhatArrives() {
	st.home = st.srv.pair(st.domainPair)
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.home != nil && st.acks.how == ackNone && (st.dir == outbound || st.bidi) {
		st.acks.ping(st.home.answers.Load())
	}
}

// isPong reports whether the stanza is an answer to a ping of ours, and tells
// the stream that asked: the answer may come on another one.
func (s *Server) isPong(h *wire.Header, from, to wire.JID) bool {
	if string(h.Name) != "iq" || wire.Answerable(h) || !bytes.HasPrefix(h.ID, []byte(pingPrefix)) {
		return false
	}
	id := wire.Unescape(h.ID)
	for _, st := range s.allStreams() {
		if st.pong(id, from, to) {
			break
		}
	}
	return true // too late is no reason to bother the rooms with it
}

func (st *stream) pong(id string, from, to wire.JID) bool {
	st.mu.Lock()
	a := &st.acks
	if a.how != ackPing || a.question.id != id || from != (wire.JID{Domain: st.remote}) || to != (wire.JID{Domain: st.local}) {
		st.mu.Unlock()
		return false
	}
	a.handled(a.question.upTo)
	st.noteAnswer()
	st.mu.Unlock()
	st.home.answers.Store(true)
	st.wakeWriter()
	return true
}

var errSilent = errors.New("the peer does not answer any more")

// look is what the writer does when it has nothing to write: it keeps the
// stream alive, and finds out when the peer does not answer any more. It
// returns when there is something to do again.
func (st *stream) look(written time.Time, silence time.Duration) (next time.Time) {
	now := time.Now()
	st.mu.Lock()
	a := &st.acks
	asking, gone := !a.question.at.IsZero(), false
	switch next = written.Add(silence); {
	case now.Before(next):
	case a.asks && !asking:
		a.due, next = true, now
	default:
		st.control, next = append(st.control, ' '), now
	}
	switch {
	case asking:
		var until time.Time
		until, gone = a.overdue(now, st.heard.Load(), st.cfg.LossTimeout)
		next = earliest(next, until)
	case len(a.unacked) > 0 && a.asks:
		next = earliest(next, a.asked.Add(pingEvery))
	}
	if gone && !a.proven {
		// As far as this stream shows, the peer does not answer pings.
		a.giveUp()
		st.home.answers.Store(false)
		gone = false
	}
	st.mu.Unlock()
	if gone {
		st.end(because(Stalled, errSilent))
	}
	return next
}
