package s2s

import (
	"errors"
	"log/slog"
	"strconv"
	"time"

	"vnode/internal/wire"
	"vnode/s2s/acks"
)

// Stream management, XEP-0198. Either side may enable it on a stream it has
// opened. Prosody resumes no server streams, so as the receiver we do not
// either.

const (
	smFeature = "<sm xmlns='" + wire.NSSM + "'/>"
	smEnable  = "<enable xmlns='" + wire.NSSM + "' resume='true'/>"
	smEnabled = "<enabled xmlns='" + wire.NSSM + "'/>"
	smRequest = "<r xmlns='" + wire.NSSM + "'/>"
)

func smAck(b []byte, h uint32) []byte {
	b = append(b, "<a xmlns='"+wire.NSSM+"' h='"...)
	return append(strconv.AppendUint(b, uint64(h), 10), "'/>"...)
}

func smFailed(condition string) []byte {
	return []byte("<failed xmlns='" + wire.NSSM + "'><" + condition + " xmlns='" + wire.NSStanzas + "'/></failed>")
}

// streamManagement handles an element of XEP-0198 on a ready stream.
func (st *stream) streamManagement(h *wire.Header, local string) error {
	switch local {
	case "enable":
		return st.enable()
	case "enabled":
		st.enabled(h)
	case "failed":
		st.notEnabled()
	case "r":
		if st.counting.Load() {
			return st.send(smAck(nil, st.in.Load()))
		}
	case "a":
		return st.acknowledged(h)
	case "resume":
		return st.send(smFailed("item-not-found"))
	default:
		return refuse(BadProtocol, wire.UnsupportedStanzaType, "")
	}
	return nil
}

// enable counts both ways, as the peer that opened the stream asks.
func (st *stream) enable() error {
	if st.dir == outbound || st.counting.Load() {
		return st.send(smFailed("unexpected-request"))
	}
	st.in.Store(0)
	st.counting.Store(true)
	st.consent()
	st.wakeWriter()
	return nil
}

// consent has the writer say that we count too, and count from there on.
func (st *stream) consent() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.control = append(st.control, smEnabled...)
	st.acks.Manage()
	st.acks.Enabled()
}

// enabled is the peer's consent to what we asked for.
func (st *stream) enabled(h *wire.Header) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if !st.acks.Enabling() {
		return
	}
	st.noteAnswer()
	st.acks.Enabled()
	st.in.Store(0)
	st.counting.Store(true)
	if resume := h.Attr("resume"); resume == "true" || resume == "1" {
		st.resumeID, st.resumeFor = h.Attr("id"), st.cfg.QueueTimeout
		if n, err := strconv.ParseUint(h.Attr("max"), 10, 31); err == nil && n > 0 {
			st.resumeFor = min(st.resumeFor, time.Duration(n)*time.Second)
		}
	}
	st.wakeWriter()
}

// notEnabled is the peer's refusal.
func (st *stream) notEnabled() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.acks.Enabling() {
		st.noteAnswer()
		st.acks.Ping(st.home.answers.Load())
		st.wakeWriter()
	}
}

// acknowledged takes the peer's count.
func (st *stream) acknowledged(h *wire.Header) error {
	n, err := strconv.ParseUint(h.Attr("h"), 10, 32)
	if err != nil {
		return refuse(BadProtocol, wire.InvalidXML, "no count of stanzas")
	}
	if !st.counted(uint32(n)) {
		return refuse(BadProtocol, wire.UndefinedCondition, "more stanzas acknowledged than sent")
	}
	st.wakeWriter()
	return nil
}

// counted reports false when the peer cannot have handled so much.
func (st *stream) counted(n uint32) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.acks.Method() != acks.Management {
		return true
	}
	ok := st.acks.Count(n)
	st.noteAnswer()
	return ok
}

// noteAnswer notes the answer to the question under way, if there is one.
// st.mu is held.
func (st *stream) noteAnswer() {
	if took, asked := st.acks.Answered(time.Now()); asked {
		st.srv.m.rtt.Observe(took.Seconds())
	}
}

// resumption is a lost stream of ours that its peer has offered to continue.
type resumption struct {
	id    string
	in    uint32 // stanzas handled
	acks  acks.State[sent]
	lasts time.Duration // from each loss on
	until time.Time
	timer *time.Timer
}

// manage enables stream management on a stream of ours when the peer offers
// it; before that it resumes the pair's lost stream, if there is one.
func (st *stream) manage() error {
	if st.home == nil {
		return nil
	}
	r := st.home.takeResumption()
	if r != nil && st.offersSM {
		done := false
		err := st.guarded(func() (err error) {
			done, err = st.resume(r)
			return err
		})
		if err != nil {
			st.home.hold(r)
		}
		if done || err != nil {
			return err
		}
	}
	if r != nil {
		st.srv.m.resumptions[resumeFailed].Inc()
		st.srv.unacknowledged(st.log, r.acks.Lost())
	}
	if !st.offersSM {
		return nil
	}
	st.askToManage()
	return st.send([]byte(smEnable))
}

func (st *stream) askToManage() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.acks.Manage()
	st.acks.Ask(time.Now(), "", st.heard.Load())
}

// resume asks the peer to continue r on this stream and reports whether it
// does. What it has not handled goes out first.
func (st *stream) resume(r *resumption) (done bool, err error) {
	ask := wire.NewBuilder(nil).Elem("resume", "", "xmlns", wire.NSSM, "previd", r.id, "h", strconv.FormatUint(uint64(r.in), 10))
	if err := st.send(ask.Bytes()); err != nil {
		return false, err
	}
	st.await("answer to resume", st.cfg.NegotiationTimeout)
	_, h, err := st.next()
	if err != nil {
		return false, err
	}
	space, local := st.name(&h)
	if space != wire.NSSM || local != "resumed" && local != "failed" {
		return false, refuse(BadProtocol, wire.UnsupportedStanzaType, "no answer to resume")
	}
	n, err := strconv.ParseUint(h.Attr("h"), 10, 32)
	switch {
	case err != nil && local == "failed": // it has forgotten how much it has handled
		return false, nil
	case err != nil || !r.acks.Count(uint32(n)):
		return false, because(BadProtocol, errors.New("the peer's count of stanzas makes no sense"))
	case local == "failed":
		return false, nil
	}
	st.in.Store(r.in)
	st.counting.Store(true)
	st.mu.Lock()
	defer st.mu.Unlock()
	st.acks, st.resumeID, st.resumeFor = r.acks, r.id, r.lasts
	st.acks.Forget()
	for _, s := range st.acks.Unacked() {
		st.control = append(st.control, s.stanza...)
	}
	st.srv.m.resumptions[resumeDone].Inc()
	st.log.Info("stream resumed", "stanzas", len(st.acks.Unacked()))
	return true, nil
}

// settle decides about what was sent and not acknowledged when the stream
// ended: it waits for the stream to be resumed, or is answered with an error.
// It may have arrived; sent again it might arrive twice.
func (st *stream) settle(e *ending) {
	a, id, d := st.takeAcks()
	if id != "" && (e.reason == Lost || e.reason == Stalled) {
		st.home.hold(&resumption{id: id, in: st.in.Load(), acks: a, lasts: d, until: time.Now().Add(d)})
		return
	}
	if e.reason == Shutdown {
		st.srv.lose(st.log, a.Lost(), undeliveredShutdown)
		return
	}
	st.srv.unacknowledged(st.log, a.Lost())
}

func (st *stream) takeAcks() (a acks.State[sent], resumeID string, resumeFor time.Duration) {
	st.mu.Lock()
	defer st.mu.Unlock()
	a = st.acks
	st.acks.GiveUp()
	return a, st.resumeID, st.resumeFor
}

// unacknowledged answers stanzas that may or may not have arrived.
func (s *Server) unacknowledged(log *slog.Logger, lost []sent) {
	s.lose(log, lost, undeliveredUnacked)
	if len(lost) > 0 {
		log.Warn("the stream ended before all stanzas were acknowledged, answered the rest with an error", "stanzas", len(lost))
	}
}

func (s *Server) lose(log *slog.Logger, lost []sent, why undeliveredCause) {
	for _, it := range lost {
		s.undelivered(log, it.stanza, why)
	}
}
