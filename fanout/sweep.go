package fanout

import "time"

// group is the sessions of one shard that follow one log.
type group struct {
	log      *Log
	sessions []*Session
	pos      int       // the elevator: where the next visit is
	left     int       // visits until everybody was seen since head moved
	head     uint64    // how far sessions may be sent now
	next     uint64    // what head becomes at the end of refresh
	moved    time.Time // when head moved last; kept only with a gap between sweeps
	inSweep  bool
	tpl      template
}

// sweepBudget is how many sessions of a group are visited before heads are
// read and commands looked at again: often enough that batches grow while a
// sweep is under way, seldom enough that most sessions share a template.
const sweepBudget = 16

// news takes notice that a log was appended to.
func (sh *shard) news(l *Log) {
	// Cleared before the head is read: a message appended after the reading
	// is announced again.
	l.marks[sh.index].queued.Store(false)
	if g := sh.groups[l]; g != nil {
		sh.toSweep(g)
	}
}

func (sh *shard) toSweep(g *group) {
	if !g.inSweep {
		g.inSweep = true
		sh.sweep = append(sh.sweep, g)
	}
}

// refresh moves the heads of the groups and takes all commands, in an order
// that keeps a room's word: what it asked of a session before it appended a
// message is in the inbox when that message is seen, so it takes effect before
// the message is sent.
func (sh *shard) refresh() {
	sh.release()
	for _, g := range sh.sweep {
		g.next = g.log.head.Load()
	}
	sh.commands()
	if sh.b.cfg.SweepGap > 0 {
		sh.advanceApart()
		return
	}
	for _, g := range sh.sweep {
		g.advance()
	}
}

// advance moves the head to what was found in the log.
func (g *group) advance() {
	if g.next > g.head {
		g.head, g.left = g.next, len(g.sessions)
	}
}

// advanceApart moves the heads of the groups whose gap is over and puts the
// others aside. A group found in the middle of a sweep goes on with it.
func (sh *shard) advanceApart() {
	now := time.Now()
	due := sh.sweep[:0]
	for _, g := range sh.sweep {
		switch {
		case g.next <= g.head:
		case now.Sub(g.moved) >= sh.b.cfg.SweepGap:
			g.advance()
			g.moved = now
		case g.left == 0:
			sh.held = append(sh.held, g)
			continue
		}
		due = append(due, g)
	}
	clear(sh.sweep[len(due):])
	sh.sweep = due
}

// release takes back the groups put aside whose gap is over.
func (sh *shard) release() {
	if len(sh.held) == 0 {
		return
	}
	now := time.Now()
	rest := sh.held[:0]
	for _, g := range sh.held {
		if now.Sub(g.moved) >= sh.b.cfg.SweepGap {
			sh.sweep = append(sh.sweep, g)
			continue
		}
		rest = append(rest, g)
	}
	clear(sh.held[len(rest):])
	sh.held = rest
}

// gap is how long the first of the groups put aside still has to wait.
func (sh *shard) gap() time.Duration {
	first := sh.held[0].moved
	for _, g := range sh.held[1:] {
		if g.moved.Before(first) {
			first = g.moved
		}
	}
	return sh.b.cfg.SweepGap - time.Since(first)
}

// sweepSome visits some sessions of each group that has news and reports
// whether some are left.
func (sh *shard) sweepSome() bool {
	round := sh.sweep
	sh.sweep = sh.spareSweep[:0] // a visit may add to it
	sh.round = round
	for i, g := range round {
		round[i] = nil
		g.inSweep = false
		sh.sweepGroup(g)
		if g.left > 0 || len(g.sessions) > 0 && g.log.head.Load() > g.head {
			sh.toSweep(g)
		}
	}
	sh.spareSweep, sh.round, sh.at = round, nil, nil
	return len(sh.sweep) > 0
}

func (sh *shard) sweepGroup(g *group) {
	sh.now = time.Now()
	for budget := sweepBudget; budget > 0 && g.left > 0; budget-- {
		g.left--
		if g.pos >= len(g.sessions) {
			g.pos = 0
		}
		s := g.sessions[g.pos]
		g.pos++
		if s.cursor < g.head {
			sh.visit(s)
		}
	}
}

// follow makes s a follower of l from message seq on.
func (sh *shard) follow(s *Session, l *Log, seq uint64) {
	g := sh.groups[l]
	if g == nil {
		g = &group{log: l, head: seq}
		sh.groups[l] = g
	}
	s.log, s.cursor, s.group, s.index = l, seq, g, int32(len(g.sessions))
	g.sessions = append(g.sessions, s)
	g.recount()
	l.marks[sh.index].followers.Add(1)
	if l.head.Load() > seq { // appended before the log knew of us
		sh.toSweep(g)
	}
}

// leave ends the following of s, if it follows.
func (sh *shard) leave(s *Session) {
	g := s.group
	if g == nil {
		return
	}
	last := len(g.sessions) - 1
	g.sessions[s.index] = g.sessions[last]
	g.sessions[s.index].index = s.index
	g.sessions[last] = nil
	g.sessions = g.sessions[:last]
	g.log.marks[sh.index].followers.Add(-1)
	g.recount()
	if len(g.sessions) == 0 {
		delete(sh.groups, g.log)
	}
	s.log, s.group = nil, nil
}

// recount starts the round anew after sessions came, went or moved: otherwise
// the elevator could stop one short of a session it has not seen.
func (g *group) recount() {
	if g.left > 0 {
		g.left = len(g.sessions)
	}
}

// visit sends s everything it may have now.
func (sh *shard) visit(s *Session) {
	sh.at = s
	for s.link != nil && !s.link.blocked && !s.dead {
		if rest := s.link.pending; len(rest) > 0 {
			s.link.pending = nil
			sh.send(s, rest)
			continue
		}
		b := sh.batch(s)
		if s.dead { // a closing session that cannot follow any more
			return
		}
		if len(b) > 0 {
			sh.send(s, b)
			continue
		}
		if s.finishing {
			sh.finish(s)
		}
		return
	}
}

// finish ends the write side of s, and then the session.
func (sh *shard) finish(s *Session) {
	if !s.link.ended {
		s.link.ended = true
		if s.link.out.closeWrite() {
			sh.block(s)
			return
		}
	}
	sh.end(s, s.reason)
}

func (sh *shard) send(s *Session, b []byte) {
	n, wait, err := s.link.out.send(b)
	sh.tally.writes++
	sh.tally.bytes += n
	if err != nil {
		sh.broken(s, WriteFailed)
		return
	}
	if n < len(b) {
		s.link.pending = append([]byte(nil), b[n:]...)
	}
	if wait {
		sh.block(s)
	}
}

// batch encodes what comes next for s. The result is valid until the next
// call.
func (sh *shard) batch(s *Session) []byte {
	if s.log != nil && len(s.queue) == 0 {
		if s.cursor < s.group.head && !sh.lagging(s) {
			return sh.fromTemplate(s, s.group.head)
		}
	}
	return sh.merge(s)
}

// lagging says whether s is so far behind, or has been for so long, that updates
// which newer ones replace are left out for it.
func (sh *shard) lagging(s *Session) bool {
	if s.log == nil || s.cursor >= s.group.head {
		return false
	}
	if s.group.head-s.cursor > uint64(sh.b.cfg.ConflateLag) {
		return true
	}
	m := s.log.at(s.cursor)
	return m != nil && sh.now.Sub(m.at) > sh.b.cfg.ConflateAge
}

// merge encodes, message by message, the private queue and the log in their
// order.
func (sh *shard) merge(s *Session) []byte {
	out := sh.scratch[:0]
	lagging := sh.lagging(s)
	fromLog := 0
	for len(out) < maxBatch && !s.finishing && !s.dead {
		if len(s.queue) > 0 && s.due() {
			out = sh.takeFirst(s, out)
			continue
		}
		m, ok := sh.nextOfLog(s, lagging)
		if !ok {
			break
		}
		if m != nil {
			if fromLog == 0 {
				sh.b.metrics.delay.Observe(sh.now.Sub(m.at).Seconds())
			}
			fromLog++
			out = sh.frame(s, m, out)
			sh.count(s, 1)
		}
	}
	if fromLog > 0 {
		sh.b.metrics.batch.Observe(float64(fromLog))
	}
	if cap(out) <= 2*maxBatch {
		sh.scratch = out[:0]
	}
	return sh.requestAck(s, out)
}

// nextOfLog advances the cursor by one. It returns nil with ok for a message
// that is left out, and not ok when the log has nothing more yet.
func (sh *shard) nextOfLog(s *Session, lagging bool) (m *Message, ok bool) {
	if s.log == nil || s.cursor >= s.group.head {
		return nil, false
	}
	if len(s.queue) > 0 && s.cursor >= s.queue[0].after {
		return nil, false
	}
	m = s.log.at(s.cursor)
	if m == nil {
		sh.overflow(s)
		return nil, !s.dead
	}
	s.cursor++
	if lagging && m.superseded.Load() {
		sh.tally.conflated++
		return nil, true
	}
	return m, true
}

// takeFirst carries out a step of the first item of the private queue.
func (sh *shard) takeFirst(s *Session, out []byte) []byte {
	it := s.queue[0]
	if it.action == replay {
		out, done := sh.replay(s, out)
		if done {
			s.dequeue()
		}
		return out
	}
	if len(it.ms) > 0 {
		m := s.nextPrivate()
		out = sh.frame(s, m, out)
		if s.counting && !m.nonza {
			s.unrequested++
			s.sent.Add(1)
			sh.keep(s, m)
		}
		return out
	}
	s.dequeue()
	switch it.action {
	case startFollowing:
		sh.follow(s, it.log, it.after)
	case stopFollowing:
		sh.leave(s)
	case startCounting, startKeeping:
		s.counting, s.resumable = true, it.action == startKeeping
		s.sent.Store(0)
		s.acked.Store(0)
		sh.forgetAll(s)
		s.replayed, s.unrequested = 0, 0
	case tellDrained:
		it.tell()
	case finish:
		sh.leave(s)
		s.finishing = true
		if t := s.link.trailer; t != nil {
			out = t.append(out, "")
		}
	}
	return out
}

// count notes that n stanzas of the session's log, up to its cursor, are sent.
func (sh *shard) count(s *Session, n uint32) {
	if s.counting {
		s.unrequested += n
		s.sent.Add(n)
		sh.keepRange(s, s.cursor-uint64(n), n)
	}
}

// frame appends m as the connection delimits it.
func (sh *shard) frame(s *Session, m *Message, out []byte) []byte {
	if !m.raw {
		out = s.link.framing.appendHeader(out, m.size(len(s.to)))
	}
	sh.tally.deliveries++
	return m.append(out, s.to)
}

// mostUnrequested is how many stanzas are sent without asking for an
// acknowledgement: a sixteenth of what a log keeps.
const mostUnrequested = 256

// mostUnasked is how many bytes of a client's own stanzas are sent without asking
// for an acknowledgement. Unlike those of the room nobody else keeps them: with
// IQs of 20 KB at full speed, 500 visitors held 2 GB between two requests.
const mostUnasked = 64 << 10

// requestAck appends <r/> when it is due: in the same write it costs nothing.
func (sh *shard) requestAck(s *Session, out []byte) []byte {
	if !s.counting || s.terms.AckRequest == nil || s.dead || s.finishing {
		return out
	}
	heavy := s.unacked != nil && s.unacked.unasked >= mostUnasked
	if !heavy && s.unrequested < uint32(s.terms.AckEvery) {
		return out
	}
	now := max(1, int64(sh.now.Sub(sh.began)))
	if !heavy && s.requested != 0 && s.unrequested < mostUnrequested && now-s.requested < int64(sh.b.cfg.AckGap) {
		return out
	}
	s.unrequested, s.requested = 0, now
	if s.unacked != nil {
		s.unacked.unasked = 0
	}
	r := s.terms.AckRequest
	out = s.link.framing.appendHeader(out, r.size(0))
	return r.append(out, "")
}
