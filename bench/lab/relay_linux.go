package lab

import (
	"bytes"
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"vnode/bench/report"
	"vnode/internal/xmpptest/conference"
)

// outstanding is how many signalling bytes may wait between focus and visitors:
// enough that the node never waits for the focus.
const outstanding = 8 << 20

// relay sends IQs to the visitors in turn, as fast as they get through.
func relay(ctx context.Context, s *stage) ([]report.Run, error) {
	if err := everybody(ctx, s); err != nil {
		return nil, err
	}
	s.lab.doing(fmt.Sprintf("IQs of %d bytes to %d visitors in turn", s.p.Bytes, s.p.Visitors), s.p.Duration)
	nicks := s.crowd.Nicks()
	w, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	profiled := s.profile(ctx, s.p.Duration)
	sent, err := s.pump(ctx, nicks)
	if err != nil && ctx.Err() == nil {
		return nil, err
	}
	took := time.Since(w.before.at)
	share, profileErr := profiled()
	waiting, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	for s.crowd.Count().Requests < uint64(sent) && conference.Sleep(waiting, time.Millisecond) == nil {
	}
	if got := s.crowd.Count().Requests; got != uint64(sent) && ctx.Err() == nil {
		w.problems = append(w.problems, fmt.Sprintf("%d of %d IQs arrived", got, sent))
	}
	if err := w.end(ctx); err != nil {
		return nil, err
	}
	r := w.run("relay", float64(sent)/took.Seconds())
	r.Bytes, r.Latency = s.p.Bytes, s.crowd.Requests()
	taken := float64(w.count.RequestBytes)
	r.Metrics[report.RelayBytesPerSecond] = taken / w.after.at.Sub(w.before.at).Seconds()
	if cpu := (w.after.cpu - w.before.cpu).Seconds(); cpu > 0 {
		r.Metrics[report.RelayPerCPUSecond] = taken / cpu
	}
	noteProfile(&r, share, profileErr)
	if n := s.focus.errors.Load(); n > 0 {
		r.Problems = append(r.Problems, fmt.Sprintf("%d IQs were answered with an error", n))
	}
	return []report.Run{r}, ctx.Err()
}

// inFlight counts the IQs each visitor has not answered yet. A sum alone would
// not do: a load test that reads one socket after another can leave all of it to
// one visitor, whom the node then ends for not taking what is sent to it.
type inFlight struct {
	sent     []int64        // by visitor; owned by the pump
	answered []atomic.Int64 // by visitor; counted by the focus's reader
	total    int64          // owned by the pump
	done     atomic.Int64   // of all visitors
}

// mostInFlight is how many IQs a visitor may have unanswered: 160 KB at the
// usual size, where a node takes 1 MiB.
const mostInFlight = 8

func newInFlight(visitors int) *inFlight {
	return &inFlight{sent: make([]int64, visitors), answered: make([]atomic.Int64, visitors)}
}

// next is the visitor whose turn it is.
func (f *inFlight) next() int { return int(f.total % int64(len(f.sent))) }

// full says whether the next IQ, of that many bytes, has to wait.
func (f *inFlight) full(bytes int) bool {
	i := f.next()
	return f.sent[i]-f.answered[i].Load() >= mostInFlight || (f.total-f.done.Load())*int64(bytes) > outstanding
}

func (f *inFlight) add() {
	f.sent[f.next()]++
	f.total++
}

// answer notes the answer to the IQ of that id.
func (f *inFlight) answer(id string) {
	n, err := strconv.ParseInt(strings.TrimPrefix(id, requestID), 10, 64)
	if err != nil || n < 0 {
		return
	}
	f.answered[n%int64(len(f.answered))].Add(1)
	f.done.Add(1)
}

// pump writes IQs until the time is over or nothing has been answered for
// drainTime, and returns how many.
func (s *stage) pump(ctx context.Context, nicks []string) (sent int, err error) {
	pad := bytes.Repeat([]byte("x"), s.p.Bytes)
	flight := newInFlight(len(nicks))
	s.focus.flight.Store(flight)
	defer s.focus.flight.Store(nil)
	var b []byte
	end := time.Now().Add(s.p.Duration)
	moved, done := time.Now(), int64(0)
	for now := time.Now(); now.Before(end) && ctx.Err() == nil; now = time.Now() {
		if d := flight.done.Load(); d > done {
			moved, done = now, d
		}
		if flight.full(s.p.Bytes) {
			if now.Sub(moved) > drainTime {
				break
			}
			_ = conference.Sleep(ctx, 100*time.Microsecond) // the loop looks at ctx
			continue
		}
		// As many as leave in one write, each complete in itself.
		b = b[:0]
		for len(b) < 256<<10 && !flight.full(s.p.Bytes) {
			b = appendRequest(b, s.roomJID+"/"+nicks[flight.next()], int(flight.total), pad)
			flight.add()
		}
		if err := s.focus.write(b); err != nil {
			return int(flight.total), err
		}
	}
	return int(flight.total), nil
}

// requestID begins the ids of the IQs; their number follows.
const requestID = "relay-"

// appendRequest builds a session-initiate of about the size of pad, stamped at
// its end.
func appendRequest(b []byte, to string, n int, pad []byte) []byte {
	const rest = 260
	st := conference.Stamp{Kind: conference.Chat, Seq: uint64(n) + 1, Order: uint64(n) + 1, At: conference.Now()}
	b = fmt.Appendf(b, "<iq type='set' id='%s%d' to='%s'><jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='bench'><content>", requestID, n, to)
	b = append(b, pad[:max(0, len(pad)-rest)]...)
	return fmt.Appendf(b, "</content><stamp xmlns='urn:vnode:bench'>%s</stamp></jingle></iq>", st)
}
