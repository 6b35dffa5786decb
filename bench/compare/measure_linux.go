package compare

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/prometheus/procfs"

	"vnode/bench/crowd"
	"vnode/bench/peers"
	"vnode/bench/report"
	"vnode/internal/xmpptest/conference"
)

// measurement is one server on the work.
type measurement struct {
	*comparison
	server   *peers.Server
	visitors int
	repeat   int

	stage *peers.Stage
	crowd *crowd.Crowd
	turn  int     // speaker whose turn it is
	good  float64 // highest rate the server could follow
	gone  bool    // visitors' sessions broke
}

// Scenarios of a comparison.
const (
	scenarioJoin   = "join-storm"
	scenarioSteady = "steady"
	scenarioSearch = "ceiling"
	scenarioStep   = "ceiling-step"
)

func (m *measurement) run(ctx context.Context) (err error) {
	ledger := conference.NewLedger()
	m.stage, err = m.server.Open(ctx, m.Speakers, ledger)
	if err != nil {
		return err
	}
	defer func() {
		end, cancel := context.WithTimeout(context.WithoutCancel(ctx), endLimit)
		defer cancel()
		// How it ends says nothing about the figures, and everything is ended.
		_ = m.stage.Close(end)
	}()
	m.crowd, err = crowd.New(crowd.Options{
		URL: m.server.CrowdURL(), Domain: m.server.Domain, Room: m.server.Room, Ledger: ledger, NoAcks: m.NoAcks, Loops: m.LoadCores,
	})
	if err != nil {
		return err
	}
	defer m.crowd.Close()
	if err := m.join(ctx); err != nil {
		return err
	}
	for i, rate := range m.Rates {
		m.part = float64(1+i) / float64(2+len(m.Rates))
		m.say("%s, repeat %d of %d: %d visitors, %g stanzas/s", m.server.Name, m.repeat, m.Repeats, m.visitors, rate)
		r, err := m.talk(ctx, rate, m.Talk)
		if err != nil {
			return err
		}
		m.Runs = append(m.Runs, r)
		if r.Saturated == "" {
			m.good = max(m.good, rate)
		}
	}
	if !m.Search {
		return nil
	}
	return m.search(ctx)
}

// endLimit is how long the end of a conference may take.
const endLimit = 10 * time.Second

// begin returns a run to be filled in.
func (m *measurement) begin(scenario string, rate float64) report.Run {
	return report.Run{
		Server: m.server.Name, Scenario: scenario, Transport: m.server.Transport, Repeat: m.repeat,
		Visitors: m.visitors, Rate: rate, Metrics: make(map[string]float64),
	}
}

// clock is everything that is read at both ends of a phase.
type clock struct {
	server, load peers.Usage
}

func (m *measurement) clock() (clock, error) {
	s, err := m.server.Usage()
	if err != nil {
		return clock{}, fmt.Errorf("%s: %w", m.server.Name, err)
	}
	l, err := peers.OwnUsage()
	return clock{s, l}, err
}

// fill adds what was used between two moments.
func (m *measurement) fill(r *report.Run, from, to clock) (cpu time.Duration) {
	wall := to.server.At.Sub(from.server.At).Seconds()
	cpu, kernel := to.server.Since(from.server)
	load, _ := to.load.Since(from.load)
	r.Metrics[report.ServerCPU] = cpu.Seconds() / wall
	r.Metrics[report.LoadCPU] = load.Seconds() / wall
	r.Metrics[report.KernelShare] = kernel
	if r.Metrics[report.LoadCPU] > report.LoadLimit*float64(m.LoadCores) {
		r.Saturated = fmt.Sprintf("the load test used %.0f %% of its %d cores: this is its limit, not the server's",
			100*r.Metrics[report.LoadCPU]/float64(m.LoadCores), m.LoadCores)
	}
	return cpu
}

// join lets the visitors in and measures what that costs, and their memory.
func (m *measurement) join(ctx context.Context) error {
	m.say("%s, repeat %d of %d: %d visitors join", m.server.Name, m.repeat, m.Repeats, m.visitors)
	r := m.begin(scenarioJoin, 0)
	if err := conference.Sleep(ctx, m.Settle/2); err != nil {
		return err
	}
	before, err := m.clock()
	if err != nil {
		return err
	}
	joining, cancel := context.WithTimeout(ctx, m.JoinLimit)
	joinErr := m.crowd.Join(joining, crowd.Join{N: m.visitors, Parallel: joinsAtOnce})
	cancel()
	after, err := m.clock()
	if err != nil {
		return errors.Join(joinErr, err)
	}
	cpu := m.fill(&r, before, after)
	r.Saturated = "" // all come at once: somebody has no CPU left, and a join costs the server the same
	joined := m.crowd.Sum().Joined
	if joined > 0 && cpu > 0 {
		r.Metrics[report.CPUPerJoin] = cpu.Seconds() / float64(joined)
		r.Metrics[report.JoinsPerCPUSecond] = float64(joined) / cpu.Seconds()
		r.Metrics[report.BytesPerJoin] = float64(m.crowd.Count().JoinBytes) / float64(joined)
	}
	r.Joins = m.crowd.Joins(crowd.Steady)
	if joinErr != nil {
		r.Problems = append(r.Problems, fmt.Sprintf("%d of %d joined: %v", joined, m.visitors, joinErr))
	}
	if err := conference.Sleep(ctx, m.Settle); err != nil {
		return err
	}
	idle, err := m.clock()
	if err != nil {
		return err
	}
	if joined > 0 {
		r.Metrics[report.RSSPerSession] = max(0, float64(idle.server.RSS-before.server.RSS)/float64(joined))
	}
	kernelMemory(&r)
	m.Runs = append(m.Runs, r)
	if joined < m.visitors*9/10 {
		return fmt.Errorf("only %d of %d visitors joined within %v, so nothing else was measured: %w", joined, m.visitors, m.JoinLimit, joinErr)
	}
	return nil
}

// joinsAtOnce is how many joins are under way: as many as keep any server busy.
const joinsAtOnce = 64

// kernelMemory adds what all TCP sockets of the machine hold.
func kernelMemory(r *report.Run) {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return
	}
	stat, err := fs.NetSockstat()
	if err != nil {
		return
	}
	const page = 4096 // /proc/net/sockstat counts in pages
	for _, p := range stat.Protocols {
		if p.Protocol == "TCP" && p.Mem != nil {
			r.Metrics[report.KernelTCPMemory] = float64(*p.Mem) * page
		}
	}
}

// talk lets the speakers talk for a while, on schedule, and measures what that
// costs until everything has arrived.
func (m *measurement) talk(ctx context.Context, rate float64, d time.Duration) (report.Run, error) {
	r := m.begin(scenarioSteady, rate)
	faults, ended := m.faults(), m.crowd.Sum().Ended
	before, err := m.clock()
	if err != nil {
		return r, err
	}
	m.crowd.Mark()
	began := conference.Now()
	said, late, err := m.speak(ctx, rate, d)
	if err != nil {
		return r, err
	}
	drained, undelivered := m.drain(ctx)
	after, err := m.clock()
	if err != nil {
		return r, err
	}
	if ctx.Err() != nil {
		return r, ctx.Err()
	}
	took := time.Duration(conference.Now() - began)
	cpu := m.fill(&r, before, after)
	count := m.crowd.Count()
	m.deliveries(&r, count, cpu, said, took)
	if n := count.Delivered; n > 0 {
		load, _ := after.load.Since(before.load)
		r.Metrics[report.LoadPerDelivery] = load.Seconds() / float64(n)
	}
	r.Latency = m.crowd.Delivery(crowd.Steady)
	m.verify(&r, faults, undelivered)
	m.judge(&r, d, drained, late, undelivered)
	if sum := m.crowd.Sum(); sum.Ended > ended {
		// Nobody waits for those, and nothing of theirs is lost.
		m.gone = true
		r.Saturated = fmt.Sprintf("%d visitors' sessions broke, the first: %s", sum.Ended-ended, sum.First)
	}
	return r, nil
}

// deliveries fills in what a delivery costs. Speakers that are in the server's
// own room get everything too: that is the server's work, so it counts.
func (m *measurement) deliveries(r *report.Run, n crowd.Count, cpu time.Duration, said int, took time.Duration) {
	if n.Delivered == 0 {
		return
	}
	r.Bytes = int(n.DeliveredBytes / n.Delivered)
	r.Metrics[report.DeliveriesPerSecond] = float64(n.Delivered) / took.Seconds()
	all := float64(n.Delivered)
	if m.server.Echoes {
		all += float64(said * m.Speakers)
	}
	r.Metrics[report.CPUPerDelivery] = cpu.Seconds() / all
}

// speak says what is due, and returns how much that was and how late the last
// of it. Stanzas are spread evenly, each at a moment of its own within its
// slot; the moments are the same for every server of a repeat.
func (m *measurement) speak(ctx context.Context, rate float64, d time.Duration) (said int, late time.Duration, err error) {
	moments := rand.New(rand.NewPCG(uint64(m.repeat), uint64(rate*1000)))
	begin := conference.Now()
	for n := max(1, int(rate*d.Seconds())); said < n; said++ {
		due := begin + int64((float64(said)+moments.Float64())/rate*float64(time.Second))
		kind := conference.Presence
		if moments.Float64() < m.ChatPart {
			kind = conference.Chat
		}
		if err := conference.Sleep(ctx, time.Duration(due-conference.Now())); err != nil {
			return said, 0, err
		}
		m.turn++
		if err := m.stage.Speakers[m.turn%len(m.stage.Speakers)].Say(ctx, kind, due, m.Size); err != nil {
			return said, 0, fmt.Errorf("%s: a speaker: %w", m.server.Name, err)
		}
		if late = time.Duration(conference.Now() - due); late > hopeless {
			return said, late, nil
		}
	}
	return said, late, conference.Sleep(ctx, time.Duration(begin+int64(d)-conference.Now()))
}

// hopeless is how late the load gives up: it cannot catch up any more.
const hopeless = 2 * time.Second

// drainLimit is how long after the last word everything must have arrived to be
// counted.
const drainLimit = 30 * time.Second

func (m *measurement) drain(ctx context.Context) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, drainLimit)
	defer cancel()
	begin := time.Now()
	err = m.crowd.Drain(ctx)
	return time.Since(begin), err
}

// verify reports what must not be. What is still on its way is not lost.
func (m *measurement) verify(r *report.Run, before conference.Tally, undelivered error) {
	now := m.faults()
	if undelivered == nil {
		r.Metrics[report.Lost] = float64(now.Lost - min(now.Lost, before.Lost))
	}
	r.Metrics[report.Duplicated] = float64(now.Duplicate - before.Duplicate)
	r.Metrics[report.Disordered] = float64(now.OutOfOrder - before.OutOfOrder)
	for _, f := range []struct {
		what string
		n    float64
	}{
		{"lost", r.Metrics[report.Lost]}, {"duplicated", r.Metrics[report.Duplicated]}, {"out of order", r.Metrics[report.Disordered]},
		{"unexpected", float64(now.Unexpected - before.Unexpected)}, {"errors", float64(now.Errors - before.Errors)},
	} {
		if f.n > 0 {
			r.Problems = append(r.Problems, fmt.Sprintf("%s: %.0f", f.what, f.n))
		}
	}
}

func (m *measurement) faults() conference.Tally { return m.crowd.Sum().Tally }

// judge says whether the server kept up. What is still on its way when the
// talk ends is latency; what takes a tenth as long as the talk to arrive, and
// more than a second, is a backlog that would have grown.
func (m *measurement) judge(r *report.Run, talk, drained, late time.Duration, undelivered error) {
	switch {
	case r.Saturated != "":
	case undelivered != nil:
		r.Saturated = fmt.Sprintf("not everything had arrived %v after the last word: %v", drainLimit, undelivered)
	case late > lateLimit:
		r.Saturated = fmt.Sprintf("the load test was %v late with its last word: it, or the server's reading, is the limit", late.Round(time.Millisecond))
	case drained > max(talk/10, backlogLimit):
		r.Saturated = fmt.Sprintf("the server was behind: the rest took %v to arrive, while it used %.2f cores", drained.Round(10*time.Millisecond), r.Metrics[report.ServerCPU])
	}
}

const (
	lateLimit    = 250 * time.Millisecond
	backlogLimit = time.Second
)
