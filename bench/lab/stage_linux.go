package lab

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"vnode/bench/crowd"
	"vnode/bench/report"
	"vnode/internal/xmpptest/conference"
)

// Lab is where experiments run.
type Lab struct {
	// Program is the node's; it is started anew for every experiment. Empty:
	// Target is measured, and left running.
	Program string
	Target  *Target
	// Conference opens the room on a real main; nil: main is simulated, and
	// the target finds it at MainListen.
	Conference func(context.Context, *conference.Ledger) (conference.Conference, error)
	MainListen string
	Room       string // localpart of the room; default bench
	Cores      Cores
	Seed       uint64 // of arrivals; equal seeds are equal loads
	// Doing is told what happens and how long it takes at least; nil: nobody.
	Doing func(what string, takes time.Duration)
}

func (l *Lab) doing(what string, takes time.Duration) {
	if l.Doing != nil {
		l.Doing(what, takes)
	}
}

// stage is a room on a node, its participants inside.
type stage struct {
	// Static after construction.
	lab      *Lab
	p        Params
	target   *Target
	node     *node // nil: not ours
	ledger   *conference.Ledger
	room     conference.Conference
	focus    *focus
	speakers []conference.Speaker
	roomJID  string
	crowd    *crowd.Crowd
	probe    *probe
	rng      *rand.Rand

	closers []func(context.Context) error // in order of opening

	// Owned by the caller.
	connected bool      // the node has the room from main
	turn      int       // speaker whose turn it is
	told      crowd.Sum // what earlier windows have reported
	first     sample    // of the node without visitors
}

const closeTime = 10 * time.Second

// open sets a stage: a node, main, the focus, a room with participants, and a
// crowd without visitors. Close it.
func (l *Lab) open(ctx context.Context, p Params) (*stage, error) {
	s := &stage{lab: l, p: p, ledger: conference.NewLedger(), rng: rand.New(rand.NewPCG(l.Seed, 0))}
	if err := s.set(ctx); err != nil {
		if s.node != nil {
			if tail := s.node.process.LogTail(); tail != "" {
				err = fmt.Errorf("%w\nthe end of the node's log:\n%s", err, tail)
			}
		}
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *stage) later(f func(context.Context) error) { s.closers = append(s.closers, f) }

// close ends everything, last first.
func (s *stage) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTime)
	defer cancel()
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i](ctx))
	}
	s.closers = nil
	return errors.Join(errs...)
}

func (s *stage) set(ctx context.Context) error {
	s.lab.doing("starting the node", time.Second)
	main, err := s.reach(ctx)
	if err != nil {
		return err
	}
	t := s.target
	s.probe = newProbe(t.PID, t.Admin)
	name := s.lab.Room
	if name == "" {
		name = roomName
	}
	s.roomJID = name + "@" + t.Prefix + "." + t.Domain
	url := t.URL(s.p.Transport)
	if url == "" {
		return fmt.Errorf("transport %q: the node's address for it is not known", s.p.Transport)
	}
	s.crowd, err = crowd.New(crowd.Options{
		URL: url, Domain: t.Domain, Room: s.roomJID, Ledger: s.ledger, NoAcks: s.p.NoAcks, TLS: t.TLS, Loops: len(s.lab.Cores.Load),
	})
	if err != nil {
		return err
	}
	s.later(func(context.Context) error { s.crowd.Close(); return nil })
	if err := s.openRoom(ctx, main, name); err != nil {
		return err
	}
	for range s.p.Participants {
		p, err := s.room.Join(ctx)
		if err != nil {
			return fmt.Errorf("participant: %w", err)
		}
		s.speakers = append(s.speakers, p)
	}
	if s.focus, err = dialFocus(ctx, t.Focus); err != nil {
		return err
	}
	s.later(func(context.Context) error { s.focus.close(); return nil })
	if err := s.focus.createRoom(ctx, s.roomJID); err != nil {
		return err
	}
	if err := s.room.ConnectVNode(ctx); err != nil {
		return err
	}
	s.connected = true
	s.first, err = s.probe.take(ctx)
	return err
}

// reach starts the node, or takes the one that runs, and returns where a
// simulated main listens; nil when main is real.
func (s *stage) reach(ctx context.Context) (net.Listener, error) {
	if s.lab.Program != "" {
		n, err := startNode(ctx, s.lab.Program, s.lab.Cores.Node)
		if err != nil {
			return nil, err
		}
		s.node, s.target = n, &n.Target
		s.later(func(context.Context) error { return n.stop() })
		return n.main, nil
	}
	s.target = s.lab.Target
	if s.lab.Conference != nil {
		return nil, nil
	}
	main, err := net.Listen("tcp", s.lab.MainListen)
	if err != nil {
		return nil, fmt.Errorf("listen where the node finds main: %w", err)
	}
	return main, nil
}

// openRoom opens the room's main side.
func (s *stage) openRoom(ctx context.Context, listener net.Listener, name string) error {
	if listener == nil {
		var err error
		if s.room, err = s.lab.Conference(ctx, s.ledger); err != nil {
			return err
		}
		s.later(s.room.Close)
		s.later(s.leaveNode)
		return nil
	}
	t := s.target
	main, err := conference.NewMain(conference.MainOptions{
		Domain: t.Main, Prefix: t.Prefix, Node: t.Domain, NodeAddr: t.S2S, Listener: listener, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	s.later(func(ctx context.Context) error {
		// How a node that is killed takes it is of no interest.
		_ = main.Close(ctx)
		return nil
	})
	s.room = main.Room(name, s.ledger)
	s.later(s.leaveNode)
	return nil
}

// leaveNode ends the room on a node that goes on.
func (s *stage) leaveNode(ctx context.Context) error {
	if s.node != nil || !s.connected {
		return nil
	}
	_ = s.crowd.Leave(ctx) // who does not is cut
	return s.room.DisconnectVNode(ctx)
}

// publish lets participants speak for that long, at random times around a
// rate, each when it is due even if the node has not yet taken what was before.
// It returns how many stanzas that was and the most one was late.
func (s *stage) publish(ctx context.Context, rate float64, d time.Duration) (n int, late time.Duration, err error) {
	return s.schedule(ctx, rate, d, func(due int64) error {
		kind := conference.Presence
		if s.rng.Float64() < s.p.ChatShare {
			kind = conference.Chat
		}
		s.turn++
		return s.speakers[s.turn%len(s.speakers)].Say(ctx, kind, due, s.p.Bytes)
	})
}

// schedule calls do at Poisson times.
func (s *stage) schedule(ctx context.Context, rate float64, d time.Duration, do func(due int64) error) (n int, late time.Duration, err error) {
	if rate <= 0 {
		return 0, 0, conference.Sleep(ctx, d)
	}
	begin := conference.Now()
	end := begin + int64(d)
	for due := begin; ; {
		due += int64(s.rng.ExpFloat64() / rate * float64(time.Second))
		if due > end {
			return n, late, conference.Sleep(ctx, time.Duration(end-conference.Now()))
		}
		wait := time.Duration(due - conference.Now())
		if wait > 0 {
			if err := conference.Sleep(ctx, wait); err != nil {
				return n, late, err
			}
		} else if ctx.Err() != nil {
			return n, late, ctx.Err()
		}
		late = max(late, time.Duration(conference.Now()-due))
		if err := do(due); err != nil {
			return n, late, err
		}
		n++
	}
}

// window is one measurement between two samples.
type window struct {
	s             *stage
	before, after sample
	count         crowd.Count
	published     int
	late          time.Duration // most a stanza was published late
	drained       time.Duration // from the last publication to empty queues
	problems      []string
}

// begin opens a window.
func (s *stage) begin(ctx context.Context) (*window, error) {
	w := &window{s: s}
	var err error
	if w.before, err = s.probe.take(ctx); err != nil {
		return nil, err
	}
	s.crowd.Mark()
	return w, nil
}

// drainTime is the most that queues may take to empty.
const drainTime = 30 * time.Second

// end waits until everything published has arrived, and closes the window. A
// window whose ctx has ended is closed at once, with what there is.
func (w *window) end(ctx context.Context) error {
	began := time.Now()
	if ctx.Err() == nil {
		waiting, cancel := context.WithTimeout(ctx, drainTime)
		if err := w.s.crowd.Drain(waiting); err != nil && ctx.Err() == nil {
			w.problems = append(w.problems, err.Error())
		}
		cancel()
		w.checkFocus(ctx)
	} else {
		w.problems = append(w.problems, "interrupted")
	}
	w.drained = time.Since(began)
	w.count = w.s.crowd.Count()
	var err error
	w.after, err = w.s.probe.take(context.WithoutCancel(ctx))
	return err
}

// checkFocus compares the visitors with those the focus sees. What it is told
// takes another way than what visitors get, and may come later.
func (w *window) checkFocus(ctx context.Context) {
	for patience := time.Now().Add(2 * time.Second); ; {
		seen, joined := int(w.s.focus.visitors.Load()), len(w.s.crowd.Nicks())
		if seen == joined {
			return
		}
		if time.Now().After(patience) || conference.Sleep(ctx, 10*time.Millisecond) != nil {
			w.problems = append(w.problems, fmt.Sprintf("the focus sees %d of %d visitors", seen, joined))
			return
		}
	}
}

// What makes a window's figures doubtful.
const (
	lateLimit  = 250 * time.Millisecond
	drainLimit = time.Second
)

// run makes a run of the report of the window.
func (w *window) run(scenario string, rate float64) report.Run {
	s, took := w.s, w.after.at.Sub(w.before.at)
	r := report.Run{
		Server: "vnode", Scenario: scenario, Transport: s.p.Transport, Repeat: 1, Visitors: s.p.Visitors, Rate: rate,
		Metrics: map[string]float64{}, Problems: w.problems,
		Latency: s.crowd.Delivery(crowd.Steady),
	}
	d := float64(w.count.Delivered)
	if d > 0 {
		r.Bytes = int(w.count.DeliveredBytes / w.count.Delivered)
		r.Metrics[report.DeliveriesPerSecond] = d / took.Seconds()
	}
	own := (w.after.own - w.before.own).Seconds() / took.Seconds()
	r.Metrics[report.LoadCPU] = own
	if d > 0 {
		r.Metrics[report.LoadPerDelivery] = (w.after.own - w.before.own).Seconds() / d
	}
	others := w.after.busy - w.before.busy - (w.after.own - w.before.own) - (w.after.cpu - w.before.cpu)
	if s.probe.pid != 0 {
		r.Metrics[report.OthersCPU] = max(0, others.Seconds()/took.Seconds())
	}
	if s.probe.pid != 0 {
		cpu := (w.after.cpu - w.before.cpu).Seconds()
		r.Metrics[report.ServerCPU] = cpu / took.Seconds()
		if d > 0 {
			r.Metrics[report.CPUPerDelivery] = cpu / d
		}
		if ticks := w.after.user + w.after.system - w.before.user - w.before.system; ticks > 0 {
			r.Metrics[report.KernelShare] = float64(w.after.system-w.before.system) / float64(ticks)
		}
		r.Metrics[report.RSSGrowth] = float64(w.after.rss - w.before.rss)
	}
	if n := w.count.Refused; n > 0 {
		r.Metrics[report.JoinsPutOff] = float64(n)
	}
	r.Metrics[report.KernelTCPMemory] = float64(w.after.tcp)
	if n, ok := grew(w.before, w.after, batchCount); ok && n > 0 {
		sum, _ := grew(w.before, w.after, batchSum)
		r.Metrics[report.BatchStanzas] = sum / n
	}
	w.judge(&r, own)
	return r
}

// judge adds what was lost, and why the figures may not be the node's.
func (w *window) judge(r *report.Run, own float64) {
	s := w.s
	sum := s.crowd.Sum()
	// A presence that was never sent because a newer one followed is no loss,
	// if the node says that it left so many out.
	left, _ := grew(s.first, w.after, conflated)
	if undeclared := float64(sum.Superseded) - left; undeclared > 0 {
		sum.Superseded -= uint64(undeclared)
		sum.Tally.Lost += uint64(undeclared)
	}
	told := s.told
	s.told = sum
	lost := since(sum.Tally.Lost, told.Tally.Lost)
	if n := since(sum.Superseded, told.Superseded); n > 0 {
		r.Metrics[report.Superseded] = float64(n)
	}
	sum.Tally.Duplicate = since(sum.Tally.Duplicate, told.Tally.Duplicate)
	sum.Tally.OutOfOrder = since(sum.Tally.OutOfOrder, told.Tally.OutOfOrder)
	sum.Tally.Unexpected = since(sum.Tally.Unexpected, told.Tally.Unexpected)
	sum.Tally.Errors = since(sum.Tally.Errors, told.Tally.Errors)
	r.Metrics[report.Lost] = float64(lost)
	r.Metrics[report.Duplicated] = float64(sum.Tally.Duplicate)
	r.Metrics[report.Disordered] = float64(sum.Tally.OutOfOrder)
	for _, p := range []struct {
		n    uint64
		what string
	}{
		{lost, "lost"}, {sum.Tally.Duplicate, "came twice"}, {sum.Tally.OutOfOrder, "out of order"},
		{sum.Tally.Unexpected, "unexpected"}, {sum.Tally.Errors, "of type error"},
	} {
		if p.n > 0 {
			r.Problems = append(r.Problems, fmt.Sprintf("%d stanzas %s", p.n, p.what))
		}
	}
	if sum.Ended > 0 {
		r.Problems = append(r.Problems, fmt.Sprintf("%d visitors' sessions broke, the first: %s", sum.Ended, sum.First))
	}
	cores := float64(max(1, len(s.lab.Cores.Load)))
	switch {
	case own > report.LoadLimit*cores:
		r.Saturated = fmt.Sprintf("the load test used %.2f of its %.0f cores: its own limit, not the node's", own, cores)
	case w.late > lateLimit:
		r.Saturated = fmt.Sprintf("the load test published up to %s late", w.late.Round(time.Millisecond))
	case w.drained > drainLimit:
		r.Saturated = fmt.Sprintf("more was offered than delivered: queues took %s to empty", w.drained.Round(10*time.Millisecond))
	}
}

// since returns how much a count grew; it can also shrink, when what looked
// lost came after all.
func since(now, before uint64) uint64 {
	if now < before {
		return 0
	}
	return now - before
}
