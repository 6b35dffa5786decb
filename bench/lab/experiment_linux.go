package lab

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"vnode/bench/crowd"
	"vnode/bench/report"
	"vnode/internal/xmpptest/conference"
)

// Params are the knobs of an experiment. Those it has no use for are ignored.
type Params struct {
	Transport    string        // tcp, unix, bosh or xmpp
	Visitors     int           // at the most as many as files may be open
	Participants int           // of the main room; they speak
	Rate         float64       // stanzas per second into the room
	ChatShare    float64       // of them, in [0, 1]; the rest is presence
	Bytes        int           // of a stanza, if it is less by itself
	Duration     time.Duration // of the measurement
	NoAcks       bool          // stream management off
	Profile      string        // file for a CPU profile of the node while it is measured; "": none
}

// Experiment is a scenario that can be measured.
type Experiment struct {
	Name    string
	Summary string // one line for people
	Default Params
	run     func(context.Context, *stage) ([]report.Run, error)
}

// Takes estimates how long the experiment runs.
func (e *Experiment) Takes(p Params) time.Duration {
	joins := time.Duration(p.Visitors) * 500 * time.Microsecond
	return 3*time.Second + joins + p.Duration + warmUp
}

const (
	participants = 30
	chatShare    = 0.25
	// A presence of lib-jitsi-meet is about 1,100 bytes as a visitor gets it
	// and a short line 350: with a quarter of chat the mean is 900.
	stanzaBytes = 0
	warmUp      = 2 * time.Second
)

// Experiments returns all there are, in the order of the standard suite.
func Experiments() []Experiment {
	base := Params{Transport: "tcp", Visitors: 2000, Participants: participants, Rate: 60, ChatShare: chatShare, Bytes: stanzaBytes, Duration: 10 * time.Second}
	with := func(f func(*Params)) Params { p := base; f(&p); return p }
	return []Experiment{
		{"idle", "memory of visitors that are in the room and hear nothing", with(func(p *Params) { p.Rate = 0 }), idle},
		{"steady", "presence and chat at random times: latency, loss, CPU per delivery", base, steady},
		{"join-storm", "all visitors come at once while others listen", with(func(p *Params) { p.Rate = 40 }), joinStorm},
		{"reconnect-storm", "all visitors lose their network at once and resume", with(func(p *Params) { p.Rate = 10 }), reconnectStorm},
		{"stalled", "every tenth visitor stops to read", with(func(p *Params) { p.Rate, p.Duration = 100, 60*time.Second }), stalled},
		{"relay", "the focus signals to one visitor after another: IQs of 20 KB", with(func(p *Params) { p.Visitors, p.Bytes, p.Rate = 500, 20_000, 0 }), relay},
		{"flood", "visitors chat, all at once", with(func(p *Params) { p.Rate = 50 }), flood},
		{"ceiling", "the rate is raised until the node cannot follow", with(func(p *Params) {
			// Chat alone: what a node may leave out for who lags does not count as delivered.
			p.Rate, p.Duration, p.ChatShare, p.Bytes = 400, 5*time.Second, 1, 900
		}), ceiling},
		{"soak", "steady, for long", with(func(p *Params) { p.Rate, p.Duration = 20, 30*time.Minute }), steady},
	}
}

// Find returns the experiment of that name.
func Find(name string) (Experiment, error) {
	var names []string
	for _, e := range Experiments() {
		if e.Name == name {
			return e, nil
		}
		names = append(names, e.Name)
	}
	return Experiment{}, fmt.Errorf("no scenario %q; there are %q", name, names)
}

// Run measures. When ctx ends early the runs hold what was measured so far and
// say so; the error is then nil unless there is nothing at all.
func (l *Lab) Run(ctx context.Context, e Experiment, p Params) ([]report.Run, error) {
	if err := checkFiles(p.Visitors); err != nil {
		return nil, err
	}
	s, err := l.open(ctx, p)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", e.Name, err)
	}
	runs, err := e.run(ctx, s)
	if len(runs) > 0 && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		err = nil
	}
	if s.node != nil && err != nil {
		if tail := s.node.process.LogTail(); tail != "" {
			err = fmt.Errorf("%w\nthe end of the node's log:\n%s", err, tail)
		}
	}
	err = errors.Join(err, s.close())
	if err != nil {
		err = fmt.Errorf("%s: %w", e.Name, err)
	}
	return runs, err
}

// spareFiles is what a process needs beside its visitors' sockets.
const spareFiles = 100

// checkFiles raises the limit of open files as far as it goes.
func checkFiles(visitors int) error {
	var lim unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &lim); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	want := uint64(visitors + spareFiles)
	if lim.Max < want {
		lim.Max = want // which only a privileged process may
	}
	lim.Cur = lim.Max
	err := unix.Setrlimit(unix.RLIMIT_NOFILE, &lim)
	if lim.Cur >= want && err == nil {
		return nil
	}
	return fmt.Errorf("%d visitors need %d open files, which the hard limit (ulimit -Hn) of load test and node does not allow", visitors, want)
}

// everybody joins, as fast as they can.
func everybody(ctx context.Context, s *stage) error {
	s.lab.doing(fmt.Sprintf("%d visitors join", s.p.Visitors), time.Duration(s.p.Visitors)*500*time.Microsecond)
	return s.crowd.Join(ctx, crowd.Join{N: s.p.Visitors})
}

// idle measures memory.
func idle(ctx context.Context, s *stage) ([]report.Run, error) {
	w, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	if err := everybody(ctx, s); err != nil {
		return nil, err
	}
	joins := s.crowd.Joins(crowd.Steady)
	s.lab.doing("memory comes to rest", s.p.Duration)
	if err := s.settle(ctx, s.p.Duration); err != nil {
		w.problems = append(w.problems, "interrupted")
	}
	if err := w.end(ctx); err != nil {
		return nil, err
	}
	r := w.run("idle", 0)
	r.Joins = joins
	r.Metrics[report.RSSPerSession] = float64(w.after.rss-w.before.rss) / float64(s.p.Visitors)
	return []report.Run{r}, ctx.Err()
}

// settle waits until the node's memory has not shrunk for a while: what joins
// left behind is given back to the kernel slowly.
func (s *stage) settle(ctx context.Context, least time.Duration) error {
	const calm, longest = 5 * time.Second, 2 * time.Minute
	begin, since := time.Now(), time.Now()
	low := int64(math.MaxInt64)
	for time.Since(begin) < longest && (time.Since(begin) < least || time.Since(since) < calm) {
		now, err := s.probe.take(ctx)
		if err != nil {
			return err
		}
		if now.rss < low-low/100 {
			low, since = now.rss, time.Now()
		}
		if err := conference.Sleep(ctx, time.Second/2); err != nil {
			return err
		}
	}
	return nil
}

// steady measures delivery.
func steady(ctx context.Context, s *stage) ([]report.Run, error) {
	if err := everybody(ctx, s); err != nil {
		return nil, err
	}
	joins := s.crowd.Joins(crowd.Steady)
	r, err := s.measure(ctx, "steady", s.p.Rate, s.p.Duration)
	if err != nil {
		return nil, err
	}
	r.Joins = joins
	return []report.Run{r}, ctx.Err()
}

// measure publishes, after a moment to warm up, and closes the window.
func (s *stage) measure(ctx context.Context, name string, rate float64, d time.Duration) (report.Run, error) {
	s.lab.doing(fmt.Sprintf("%s: %d visitors, %g stanzas/s", name, s.p.Visitors, rate), warmUp+d)
	if _, _, err := s.publish(ctx, rate, warmUp); err != nil {
		return report.Run{}, err
	}
	w, err := s.begin(ctx)
	if err != nil {
		return report.Run{}, err
	}
	profiled := s.profile(ctx, d)
	w.published, w.late, err = s.publish(ctx, rate, d)
	if err != nil && ctx.Err() == nil {
		return report.Run{}, err
	}
	share, profileErr := profiled()
	if err := w.end(ctx); err != nil {
		return report.Run{}, err
	}
	r := w.run(name, rate)
	noteProfile(&r, share, profileErr)
	return r, nil
}

// listeners is how many are in the room already when a storm comes.
const listeners = 200

func joinStorm(ctx context.Context, s *stage) ([]report.Run, error) {
	others := 0
	if s.p.Rate > 0 {
		others = min(listeners, s.p.Visitors)
	}
	s.lab.doing(fmt.Sprintf("%d visitors join before the others", others), time.Second)
	if err := s.crowd.Join(ctx, crowd.Join{N: others}); err != nil {
		return nil, err
	}
	if _, _, err := s.publish(ctx, s.p.Rate, warmUp); err != nil {
		return nil, err
	}
	s.lab.doing(fmt.Sprintf("%d visitors join at once", s.p.Visitors), time.Duration(s.p.Visitors)*500*time.Microsecond)
	w, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	talking, stop := context.WithCancel(ctx)
	said := make(chan error, 1)
	go func() {
		var err error
		w.published, w.late, err = s.publish(talking, s.p.Rate, time.Hour)
		said <- err
	}()
	joinErr := s.crowd.Join(ctx, crowd.Join{N: s.p.Visitors, Parallel: s.p.Visitors, Group: crowd.Guests})
	joined, err := s.probe.take(context.WithoutCancel(ctx))
	stop()
	if e := <-said; e != nil && !errors.Is(e, context.Canceled) {
		return nil, e
	}
	if err != nil {
		return nil, err
	}
	if joinErr != nil && ctx.Err() == nil {
		w.problems = append(w.problems, joinErr.Error())
	}
	bytes := s.crowd.Count().JoinBytes
	if err := w.end(ctx); err != nil {
		return nil, err
	}
	r := w.run("join-storm", s.p.Rate)
	r.Joins = s.crowd.Joins(crowd.Guests)
	if r.Joins != nil {
		n := float64(r.Joins.Count)
		r.Metrics[report.BytesPerJoin] = float64(bytes) / n
		if cpu := (joined.cpu - w.before.cpu).Seconds(); cpu > 0 {
			r.Metrics[report.CPUPerJoin] = cpu / n
			r.Metrics[report.JoinsPerCPUSecond] = n / cpu
		}
	}
	if r.Latency != nil {
		r.Metrics[report.OthersP99] = r.Latency.P99.Seconds()
	}
	return []report.Run{r}, ctx.Err()
}

// offline is how long the visitors of a reconnect storm have no network.
const offline = time.Second

func reconnectStorm(ctx context.Context, s *stage) ([]report.Run, error) {
	if err := everybody(ctx, s); err != nil {
		return nil, err
	}
	if _, _, err := s.publish(ctx, s.p.Rate, warmUp); err != nil {
		return nil, err
	}
	w, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	s.lab.doing("everybody loses the network and comes back", offline+s.p.Duration)
	cut := s.crowd.Cut(1)
	if cut == 0 {
		return nil, errors.New("no session can be resumed: stream management is off, or the node does not offer it")
	}
	if _, _, err := s.publish(ctx, s.p.Rate, offline); err != nil {
		return nil, err
	}
	before, err := s.probe.take(ctx)
	if err != nil {
		return nil, err
	}
	resumeErr := s.crowd.Resume(ctx, s.p.Visitors)
	after, err := s.probe.take(context.WithoutCancel(ctx))
	if err != nil {
		return nil, err
	}
	if resumeErr != nil && ctx.Err() == nil {
		w.problems = append(w.problems, resumeErr.Error())
	}
	w.published, w.late, err = s.publish(ctx, s.p.Rate, warmUp)
	if err != nil && ctx.Err() == nil {
		return nil, err
	}
	if err := w.end(ctx); err != nil {
		return nil, err
	}
	r := w.run("reconnect-storm", s.p.Rate)
	r.Joins = s.crowd.Resumptions()
	if r.Joins != nil {
		n := float64(r.Joins.Count)
		r.Metrics[report.ResumedPerSecond] = n / after.at.Sub(before.at).Seconds()
		if cpu := (after.cpu - before.cpu).Seconds(); cpu > 0 {
			r.Metrics[report.ResumedPerCPUSecond] = n / cpu
		}
	}
	return []report.Run{r}, ctx.Err()
}

// stallEvery makes 10 % of the visitors stall.
const stallEvery = 10

func stalled(ctx context.Context, s *stage) ([]report.Run, error) {
	if err := everybody(ctx, s); err != nil {
		return nil, err
	}
	baseline, err := s.measure(ctx, "before the stall", s.p.Rate, min(s.p.Duration, 10*time.Second))
	if err != nil {
		return nil, err
	}
	n := s.crowd.Stall(stallEvery)
	r, err := s.measure(ctx, "stalled", s.p.Rate, s.p.Duration)
	if err != nil {
		return nil, err
	}
	if r.Latency != nil && baseline.Latency != nil {
		r.Metrics[report.OthersP99] = r.Latency.P99.Seconds()
		r.Metrics[report.BaselineP99] = baseline.Latency.P99.Seconds()
	}
	s.lab.doing(fmt.Sprintf("%d stalled visitors read again", n), time.Second)
	s.crowd.Unstall()
	waiting, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	if err := s.crowd.Drain(waiting); err != nil && ctx.Err() == nil {
		r.Problems = append(r.Problems, "after the stall: "+err.Error())
	}
	r.Metrics[report.StalledEnded] = float64(s.crowd.Sum().Ended)
	return []report.Run{r}, ctx.Err()
}

// flood lets visitors speak instead of participants.
func flood(ctx context.Context, s *stage) ([]report.Run, error) {
	if err := everybody(ctx, s); err != nil {
		return nil, err
	}
	s.lab.doing(fmt.Sprintf("%d visitors chat, %g lines/s altogether", s.p.Visitors, s.p.Rate), s.p.Duration)
	w, err := s.begin(ctx)
	if err != nil {
		return nil, err
	}
	const stride = 7919 // prime: everybody gets a turn
	w.published, w.late, err = s.schedule(ctx, s.p.Rate, s.p.Duration, func(due int64) error {
		s.turn++
		s.crowd.Chat(s.turn*stride, due, s.p.Bytes)
		return nil
	})
	if err != nil && ctx.Err() == nil {
		return nil, err
	}
	draining, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	if err := s.room.Drain(draining); err != nil && ctx.Err() == nil {
		w.problems = append(w.problems, err.Error())
	}
	if err := w.end(ctx); err != nil {
		return nil, err
	}
	r := w.run("flood", s.p.Rate)
	if heard := s.room.Heard(); heard.Faults() > 0 {
		r.Problems = append(r.Problems, fmt.Sprintf("main got the visitors' lines with %d faults", heard.Faults()))
	}
	return []report.Run{r}, ctx.Err()
}

// ceilingLatency is the p99 beyond which a rate does not count as delivered.
const ceilingLatency = 500 * time.Millisecond

// ceiling doubles the rate, in smaller steps once a side is at work, until the
// node does not follow, then halves the interval a few times; unless sessions
// broke, after which the audience is not the same any more. Every step is a run;
// the last is the best that held.
func ceiling(ctx context.Context, s *stage) ([]report.Run, error) {
	if err := everybody(ctx, s); err != nil {
		return nil, err
	}
	var runs []report.Run
	var best report.Run
	limit := ""
	low, high := 0.0, 0.0
	const refine = 3
	for rate, steps := s.p.Rate, 0; steps < refine; {
		r, err := s.measure(ctx, "ceiling-step", rate, s.p.Duration)
		if err != nil {
			return runs, err
		}
		follows := held(&r)
		if follows {
			low, best = rate, r
		} else {
			high, limit = rate, s.limits(&r)
		}
		if !follows && low > 0 { // what breaks beyond the ceiling shows where it is
			r.Limit, r.Problems = limit, nil
		}
		runs = append(runs, r)
		if ctx.Err() != nil {
			return runs, ctx.Err()
		}
		if s.crowd.Sum().Ended > 0 {
			break
		}
		switch {
		case high == 0 && s.atWork(&r):
			rate *= 1.25
		case high == 0:
			rate *= 2
		case low == 0:
			rate /= 2
			steps++
		default:
			rate = (low + high) / 2
			steps++
		}
	}
	if low == 0 {
		return runs, nil
	}
	best.Scenario, best.Limit = "ceiling", limit
	return append(runs, best), nil
}

// atWork reports whether the node or the load test used most of its cores.
func (s *stage) atWork(r *report.Run) bool {
	const most = 0.6
	cores := s.lab.Cores
	return r.Metrics[report.ServerCPU] > most*float64(max(1, len(cores.Node))) || r.Metrics[report.LoadCPU] > most*float64(max(1, len(cores.Load)))
}

// limits says whose limit a rate has met that did not hold.
func (s *stage) limits(r *report.Run) string {
	why := r.Saturated
	switch {
	case why != "":
	case len(r.Problems) > 0:
		why = strings.Join(r.Problems, "; ")
	case r.Latency == nil:
		why = "nothing was delivered"
	default:
		why = fmt.Sprintf("p99 was %v", r.Latency.P99.Round(time.Millisecond))
	}
	return r.Limits(why, max(1, len(s.lab.Cores.Node)), max(1, len(s.lab.Cores.Load)))
}

// held reports whether the node followed: all delivered, to everybody, in
// bounded time.
func held(r *report.Run) bool {
	return r.Saturated == "" && len(r.Problems) == 0 && r.Latency != nil && r.Latency.P99 <= ceilingLatency
}
