package s2s

import (
	"bytes"
	"crypto/rand"
	"errors"
	"time"

	"vnode/internal/wire"
	"vnode/s2s/acks"
)

// pingPrefix begins the ids of our pings; what follows nobody can guess.
const pingPrefix = "s2s-ping-"

// appendQuestion asks the peer what it has handled. st.mu is held.
func (st *stream) appendQuestion(b []byte, now time.Time) []byte {
	if st.acks.Method() == acks.Management {
		st.acks.Ask(now, "", st.heard.Load())
		return append(b, smRequest...)
	}
	id := pingPrefix + rand.Text()
	st.acks.Ask(now, id, st.heard.Load())
	w := wire.NewBuilder(b).Start("iq", "type", "get", "id", id, "from", st.local, "to", st.remote)
	return w.Elem("ping", "", "xmlns", wire.NSPing).Bytes()
}

// learnWhatArrives begins to ping on a stream that has no better way to learn
// what the peer has handled.
func (st *stream) learnWhatArrives() {
	st.home = st.srv.pair(st.domainPair)
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.home != nil && st.acks.Method() == acks.None && (st.dir == outbound || st.bidi) {
		st.acks.Ping(st.home.answers.Load())
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
	if !st.notePong(id, from, to) {
		return false
	}
	st.home.answers.Store(true)
	st.wakeWriter()
	return true
}

func (st *stream) notePong(id string, from, to wire.JID) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	// Before it is ready its reader may be about to change its domains.
	if !st.isReady || from != (wire.JID{Domain: st.remote}) || to != (wire.JID{Domain: st.local}) || !st.acks.Pong(id) {
		return false
	}
	st.noteAnswer()
	return true
}

var errSilent = errors.New("the peer does not answer any more")

// look is what the writer does when it has nothing to write: it keeps the
// stream alive, and finds out when the peer does not answer any more. It
// returns when there is something to do again.
func (st *stream) look(written time.Time, silence time.Duration) (next time.Time) {
	next, gone := st.lookNow(time.Now(), written, silence)
	if gone {
		st.end(because(Stalled, errSilent))
	}
	return next
}

func (st *stream) lookNow(now, written time.Time, silence time.Duration) (next time.Time, gone bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	a := &st.acks
	switch next = written.Add(silence); {
	case now.Before(next):
	case a.Prompt():
		next = now
	default:
		st.control, next = append(st.control, ' '), now
	}
	if a.Asking() {
		var until time.Time
		until, gone = a.Overdue(now, st.heard.Load(), st.cfg.LossTimeout)
		next = earliest(next, until)
	} else if at, ok := a.NextPing(); ok {
		next = earliest(next, at)
	}
	if gone && !a.Proven() {
		// As far as this stream shows, the peer does not answer pings.
		a.GiveUp()
		st.home.answers.Store(false)
		gone = false
	}
	return next, gone
}
