package lab

import (
	"context"
	"fmt"
	"time"

	"vnode/bench"
	"vnode/bench/report"
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
	for s.crowd.Count().Requests < uint64(sent) && sleep(waiting, time.Millisecond) == nil {
	}
	if got := s.crowd.Count().Requests; got != uint64(sent) && ctx.Err() == nil {
		w.problems = append(w.problems, fmt.Sprintf("%d of %d IQs arrived", got, sent))
	}
	if err := w.end(ctx); err != nil {
		return nil, err
	}
	r := w.run("relay", float64(sent)/took.Seconds())
	r.Bytes, r.Latency = s.p.Bytes, s.crowd.Requests()
	bytes := float64(w.count.RequestBytes)
	r.Metrics[report.RelayBytesPerSecond] = bytes / w.after.at.Sub(w.before.at).Seconds()
	if cpu := (w.after.cpu - w.before.cpu).Seconds(); cpu > 0 {
		r.Metrics[report.RelayPerCPUSecond] = bytes / cpu
	}
	noteProfile(&r, share, profileErr)
	if n := s.focus.errors.Load(); n > 0 {
		r.Problems = append(r.Problems, fmt.Sprintf("%d IQs were answered with an error", n))
	}
	return []report.Run{r}, ctx.Err()
}

// pump writes IQs until the time is over, and returns how many.
func (s *stage) pump(ctx context.Context, nicks []string) (sent int, err error) {
	pad := make([]byte, s.p.Bytes)
	for i := range pad {
		pad[i] = 'x'
	}
	var b []byte
	end := time.Now().Add(s.p.Duration)
	for now := time.Now(); now.Before(end) && ctx.Err() == nil; now = time.Now() {
		for (uint64(sent)-s.crowd.Count().Requests)*uint64(s.p.Bytes) > outstanding {
			if err := sleep(ctx, 100*time.Microsecond); err != nil {
				return sent, err
			}
		}
		// As many as leave in one write, each complete in itself.
		b = b[:0]
		for len(b) < 256<<10 {
			b = appendRequest(b, s.roomJID+"/"+nicks[sent%len(nicks)], sent, pad)
			sent++
		}
		if err := s.focus.write(b); err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// appendRequest builds a session-initiate of about the size of pad, stamped at
// its end.
func appendRequest(b []byte, to string, n int, pad []byte) []byte {
	const rest = 260
	st := bench.Stamp{Kind: bench.Chat, Seq: uint64(n) + 1, Order: uint64(n) + 1, At: bench.Now()}
	b = fmt.Appendf(b, "<iq type='set' id='relay-%d' to='%s'><jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='bench'><content>", n, to)
	b = append(b, pad[:max(0, len(pad)-rest)]...)
	return fmt.Appendf(b, "</content><stamp xmlns='urn:vnode:bench'>%s</stamp></jingle></iq>", st)
}
