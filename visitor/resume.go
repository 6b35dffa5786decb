package visitor

import (
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"strconv"
	"time"

	"vnode/fanout"
	"vnode/internal/guard"
	"vnode/internal/wire"
)

// Resumption, XEP-0198 §5. A session that loses its connection hibernates: the
// rooms are not told, and what they send waits in fanout. A connection that
// wants to take over leaves a claim with the session, whose goroutine gives the
// answer when it has handled its last stanza of the old connection; so the
// counts told to the client are right, and two claims cannot both succeed.

// smID is the hash of a session's id (XEP-0198 §5, 'SM-ID'). The id itself is
// known to the client alone: a lookup's time tells nothing of it, and it cannot
// turn up in a log.
type smID [sha256.Size / 2]byte

func hashID(id string) smID {
	sum := sha256.Sum256([]byte(id))
	return smID(sum[:])
}

// newID makes an id of 130 random bits. The web client's can hold letters,
// digits, '_' and '-' only.
func newID() string { return rand.Text() }

// claim is a connection that wants to take a session over.
type claim struct {
	st       *stream
	previd   string
	h        uint32
	answered chan struct{} // closed when err is right
	err      error         // nil: the stream is the session's now
}

func (c *claim) answer(err error) {
	c.err = err
	close(c.answered)
}

// noMore is the claim of a session that has ended: there can be no other.
var noMore = new(claim)

// errNotResumed: the session has ended meanwhile.
var errNotResumed = errors.New("session has ended")

// takeOver leaves the claim with the session and waits for the answer, for a
// bounded time: a session busy with a room's full mailbox takes its time.
func (s *Session) takeOver(c *claim) error {
	deadline := time.NewTimer(s.srv.cfg.Limits.Negotiation)
	defer deadline.Stop()
	for !s.claim.CompareAndSwap(nil, c) {
		other := s.claim.Load()
		switch other {
		case nil:
			continue
		case noMore:
			return errNotResumed
		}
		select {
		case <-other.answered:
		case <-deadline.C:
			return errSilent
		}
	}
	s.interrupt()
	select {
	case <-c.answered:
		return c.err
	case <-deadline.C:
	}
	if s.claim.CompareAndSwap(c, nil) {
		c.answer(errSilent)
	}
	<-c.answered
	return c.err
}

// refuseClaims answers the claim there may be, and all to come.
func (s *Session) refuseClaims() {
	if c := s.claim.Swap(noMore); c != nil {
		c.answer(errNotResumed)
	}
}

// next deals with what ended the reading of a connection. Nil means that the
// session has a connection to be read; the error is what the session ends for.
//
//go:noinline
func (s *Session) next(err error) error {
	if s.ending.Load() != nil || s.hibernation == 0 || !survivable(err) {
		return err
	}
	if c := s.claim.Swap(nil); c != nil {
		return s.decide(c)
	}
	st := s.current.Load()
	if errors.Is(err, errInterrupted) && !st.released.Load() {
		return nil // for a claim that was withdrawn
	}
	s.fan.Suspend(st.link)
	<-st.link.Done()
	select {
	case <-s.fan.Done():
		return err // fanout has ended the session, not only let go of the connection
	default:
	}
	s.lose(st, err)
	return s.hibernate()
}

// lose sees a broken connection off. The client is told the end of that, not of
// the stream. What fanout has given up on its own is not hurried: it may have
// said why.
func (s *Session) lose(st *stream, err error) {
	s.lost = &loss{st.peer, st.name}
	s.current.Store(nil)
	r := reasonOf(err)
	r.gone = r.frame.Code == 0 && !errors.Is(err, errInterrupted)
	if errors.Is(err, errInterrupted) {
		r.label = st.link.Reason() // fanout has let go of it first
	}
	s.seeOff(st, r, func() { s.hangUp(st, r) })
}

// seeOff ends a connection the session has no more use for, without waiting for
// it.
func (s *Session) seeOff(st *stream, r reason, hangUp func()) {
	s.srv.running.Go(func() {
		st.carefully(guard.Session, hangUp)
		st.ended(r, s.JID())
		s.srv.forget(st)
	})
}

// alarm wakes a session that hibernates. It holds one token.
type alarm chan struct{}

func (a alarm) ring() {
	select {
	case a <- struct{}{}:
	default:
	}
}

// hibernate waits for a new connection. The error is what the session ends for.
func (s *Session) hibernate() error {
	if err := s.srv.asleep(s); err != nil {
		return err
	}
	c, err := s.slumber()
	// A client that reads <resumed/> finds its address with one sleeper less.
	s.srv.awake(s)
	if c != nil {
		return s.decide(c)
	}
	return err
}

// slumber waits for a claim. Without one, the error is what the session ends
// for.
func (s *Session) slumber() (*claim, error) {
	expired := time.NewTimer(s.hibernation)
	defer expired.Stop()
	wake := make(alarm, 1)
	s.wake.Store(&wake)
	defer s.wake.Store(nil)
	for {
		// Looked at behind the store: who interrupts before it has left word.
		if s.ending.Load() != nil {
			return nil, errInterrupted
		}
		if c := s.claim.Swap(nil); c != nil {
			return c, nil
		}
		select {
		case <-wake:
		case <-s.fan.Done(): // more waits for the client than it may
			return nil, errInterrupted
		case <-expired.C:
			return nil, errExpired
		}
	}
}

// decide answers a claim, which is nobody else's. The error is what the
// session ends for: a client that cannot be told exactly what it missed must
// start anew.
func (s *Session) decide(c *claim) error {
	link, err := s.fan.Resume(c.st.output(), c.h, s.resumed(c))
	switch {
	case errors.Is(err, fanout.ErrBadAck):
		err = errTooMuchAcked
	case err != nil:
		err = errOverrun
	}
	if err != nil {
		c.answer(err)
		return err
	}
	s.carry(c.st)
	c.st.bound(link)
	old := s.current.Swap(c.st)
	s.asked = false
	s.srv.resumed(s, c.st)
	c.answer(nil)
	if old != nil {
		r := streamReason(errTakenOver)
		s.seeOff(old, r, func() { <-old.link.Done(); old.hangUp(r, nil) })
	}
	s.log("session resumed", "peer", c.st.raw.RemoteAddr().String())
	return nil
}

func (s *Session) resumed(c *claim) *fanout.Message {
	return fanout.NewNonza(wire.NewBuilder(nil).
		Elem("resumed", "", "xmlns", wire.NSSM, "h", s.handled(), "previd", c.previd).Bytes())
}

// handled is how many stanzas of the client have been handled.
func (s *Session) handled() string { return strconv.FormatUint(uint64(s.counted.Load()), 10) }

// makeResumable lets a session be found by its id.
func (s *Server) makeResumable(sess *Session, id smID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sess.id = id
	s.ids.Put(sess)
}

// resumable returns the session with an id, or nil.
func (s *Server) resumable(id string) *Session {
	if id == "" {
		return nil
	}
	key := hashID(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ids.Get(key)
}

// asleep notes that a session has lost its connection, and gives up the one
// that has been without for longest if there are too many. The error is why the
// session may not go on: the server is closing, or its address has too many
// already, which must not cost others theirs.
func (s *Server) asleep(sess *Session) error {
	oldest, err := s.liesDown(sess)
	if oldest != nil && oldest.current.Load() == nil {
		oldest.end(reasonOf(errEvicted))
	}
	return err
}

// liesDown is asleep under the lock; oldest is the session to be given up.
func (s *Server) liesDown(sess *Session) (oldest *Session, err error) {
	from := sess.lost.from
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing:
		return nil, errShutdown
	case from.IsValid() && s.sleepers[from] >= s.cfg.Limits.PerAddress:
		return nil, errEvicted
	}
	if from.IsValid() {
		s.sleepers[from]++
	}
	if s.hibernating.Len() >= s.cfg.Limits.Hibernating {
		oldest = s.hibernating.Remove(s.hibernating.Front()).(*Session)
		oldest.sleep = nil
	}
	sess.sleep = s.hibernating.PushBack(sess)
	s.metrics.sessionsOf(sess.lost.transport, stateHibernating).Inc()
	return oldest, nil
}

// awake notes that a session hibernates no more, before it has another
// connection.
func (s *Server) awake(sess *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if from := sess.lost.from; s.sleepers[from] > 1 {
		s.sleepers[from]--
	} else {
		delete(s.sleepers, from)
	}
	if sess.sleep != nil {
		s.hibernating.Remove(sess.sleep)
		sess.sleep = nil
	}
	s.metrics.sessionsOf(sess.lost.transport, stateHibernating).Dec()
}

// resumed notes that a stream is a session's. The client has the session's name
// from here on.
func (s *Server) resumed(sess *Session, st *stream) {
	if st.who.named {
		s.users.release(st.who.user)
		st.who.named = false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.attachedLocked(sess, st)
}

// lateCounts remembers what sessions that were given up have handled, for
// clients that come back too late (XEP-0198 §5 on <failed/>).
type lateCounts struct {
	handled map[smID]string
	order   []smID // a ring once it is full
	next    int    // the oldest, then
}

func (l *lateCounts) add(id smID, handled string, atMost int) {
	if len(l.order) < atMost {
		l.order = append(l.order, id)
	} else {
		delete(l.handled, l.order[l.next])
		l.order[l.next] = id
		l.next = (l.next + 1) % atMost
	}
	if l.handled == nil {
		l.handled = make(map[smID]string)
	}
	l.handled[id] = handled
}

// comesTooLate notes that a session was given up before its client came back.
func (s *Server) comesTooLate(sess *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts.add(sess.id, sess.handled(), s.cfg.Limits.Hibernating)
}

// lateCount returns what a session that was given up has handled, "" if it is
// not remembered. Its user cannot be asked for, an anonymous one is gone with
// it; but who knows the id was that user.
func (s *Server) lateCount(id string) string {
	key := hashID(id)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts.handled[key]
}

// errResumed ends a negotiation whose stream is a session's now.
var errResumed = errors.New("resumed")

// resume acts on <resume/>. Which sessions there are is nobody's business but
// their users'.
func (n *negotiation) resume(h *wire.Header) error {
	previd := h.Attr("previd")
	sess := n.srv.resumable(previd)
	if sess == nil || !n.mayResume(sess) {
		return n.notResumed(resumeNotFound, "item-not-found", n.srv.lateCount(previd))
	}
	count, err := parseCount(h)
	if err != nil {
		sess.end(streamReason(errBadAck))
		return n.notResumed(resumeBadAck, "undefined-condition", sess.handled())
	}
	err = sess.takeOver(&claim{st: n.stream, previd: previd, h: count, answered: make(chan struct{})})
	switch {
	case err == nil:
		n.srv.metrics.resumptions[resumeOK].Inc()
		return errResumed
	case errors.Is(err, errNotResumed):
		return n.notResumed(resumeNotFound, "item-not-found", sess.handled())
	case errors.Is(err, errOverrun):
		return n.notResumed(resumeOverrun, "item-not-found", sess.handled())
	case err == errTooMuchAcked:
		return n.notResumed(resumeBadAck, "undefined-condition", sess.handled())
	default:
		n.srv.metrics.resumptions[resumeTimeout].Inc()
	}
	return err
}

// mayResume reports whether a session is this client's. Anonymous clients have
// nothing but the session's id to show that they are the same user (XEP-0198
// §5): who knows that secret is, whether its URL said so before the login or
// only <resume/> does now. A session that came with a token wants one as good
// from a client that logged in as somebody else.
func (n *negotiation) mayResume(s *Session) bool {
	if s.host != n.host {
		return false
	}
	return s.address.localpart() == n.who.user || s.named && n.who.anonymous() && n.who.grant.Succeeds(s.bearer.Load().grant)
}

// notResumed refuses a resumption; the client may bind instead (XEP-0198 §5).
// handled is empty when it is not known. The condition is undefined-condition for
// a client that acknowledges what was never sent: §4 would have a stream error,
// but on that lib-jitsi-meet tries to resume again, with the same count, until its
// three tries are used up. On <failed/> it begins anew at once. Prosody's answer
// is the same.
func (n *negotiation) notResumed(result, condition, handled string) error {
	n.srv.metrics.resumptions[result].Inc()
	return n.flush(wire.NewBuilder(nil).Start("failed", "xmlns", wire.NSSM).Attr("h", handled).
		Elem(condition, "", "xmlns", wire.NSStanzas).Bytes())
}
