package conference

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Scenario is a conference from its first participant to its end: the focus
// creates the room on the node, participants talk, come and go, visitors join
// while they do and have their say, and at last main ends it all.
type Scenario struct {
	Name       string
	Conference Conference
	Focus      *Focus // logged in at the node
	Room       string // bare JID on the node
	Swarm      *Swarm
	Ledger     *Ledger
	Meter      *Meter // of the node; nil: not measured

	Participants int
	Visitors     int           // at least 1
	JoinRate     float64       // visitors per second; 0: as fast as they can
	Talk         time.Duration // how long, once every visitor is in

	// How often something is said, per second and altogether; 0: never.
	Updates      float64 // presences of participants
	Lines        float64 // chat of participants
	VisitorLines float64 // chat of visitors
	Changes      float64 // a participant leaves and another one comes
	// Cuts is how many visitors lose their network, per second, in turn: every
	// second one without the node being told, see [Visitor.CutHalfOpen].
	Cuts float64

	Drain time.Duration // how long the last stanzas may take; default 15 s
	// Watch is called every WatchEvery, from one goroutine; nil: never.
	Watch      func(Snapshot)
	WatchEvery time.Duration
}

// Snapshot is a look at a scenario under way.
type Snapshot struct {
	Phase string
	Progress
	CPU float64 // cores the node uses, since the last snapshot
	RSS int64   // of the node, in bytes
}

// run is one run of a scenario.
type run struct {
	*Scenario
	room     *FocusRoom
	speakers []Speaker
	next     int // speaker whose turn it is
	visitor  int // visitor whose turn it is to speak
	victim   int // visitor whose turn it is to lose its network
	problems []string

	loadBefore time.Duration // CPU of this process at the begin

	mu    sync.Mutex
	phase string // guarded by mu
}

// Run runs the scenario and reports, also when ctx ends early: then the report
// says so. It closes neither Conference, Focus nor Swarm.
func (s *Scenario) Run(ctx context.Context) *Report {
	r := &run{Scenario: s, loadBefore: ownCPU()}
	rep := &Report{Name: s.Name, Began: time.Now()}
	before := r.usage()
	stopWatching := r.watch()
	r.play(ctx)
	stopWatching()
	if ctx.Err() != nil {
		r.problem("interrupted: %v", context.Cause(ctx))
	}
	r.fill(rep, before)
	return rep
}

// play goes through the phases; the first that fails is the last.
func (r *run) play(ctx context.Context) {
	for _, phase := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"opening the room", r.open},
		{"visitors join", r.talk},
		{"waiting for the last stanzas", r.drain},
		{"ending the conference", r.end},
	} {
		r.enter(phase.name)
		if err := phase.do(ctx); err != nil {
			r.problem("%s: %v", phase.name, err)
			return
		}
	}
}

func (r *run) enter(phase string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.phase = phase
}

func (r *run) problem(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// open does what jicofo does before it sends the first visitor to a node.
func (r *run) open(ctx context.Context) error {
	for range r.Participants {
		if err := r.come(ctx); err != nil {
			return err
		}
	}
	room, err := r.Focus.CreateRoom(ctx, r.Room, r.Ledger)
	if err != nil {
		return err
	}
	r.room = room
	return r.Conference.ConnectVNode(ctx)
}

func (r *run) come(ctx context.Context) error {
	p, err := r.Conference.Join(ctx)
	if err != nil {
		return fmt.Errorf("participant: %w", err)
	}
	r.speakers = append(r.speakers, p)
	return nil
}

// talk lets visitors join while everybody talks, and talks on. Nobody says
// anything before the first visitor is in: only then is it sure that the node
// is connected. While its stream to a node comes up, Prosody lets what is new
// overtake what is queued, so a line would come before the presence of who
// says it.
func (r *run) talk(ctx context.Context) error {
	if err := r.Swarm.Join(ctx, 1, 0); err != nil {
		return err
	}
	talking, stop := context.WithCancel(ctx)
	said := make(chan error, 1)
	go func() { said <- r.conversation(talking) }()
	if err := r.Swarm.Join(ctx, r.Visitors-1, r.JoinRate); err != nil {
		r.problem("%v", err)
	}
	r.enter("everybody talks")
	err := Sleep(ctx, r.Talk)
	stop()
	return errors.Join(err, <-said)
}

// conversation says what is due, on time, until ctx ends. It is one goroutine:
// what one participant says has an order. The schedule does not wait for the
// node: what is late is said at once.
func (r *run) conversation(ctx context.Context) error {
	topics := []topic{
		{rate: r.Updates, do: func(ctx context.Context) error { return r.speaker().Update(ctx) }},
		{rate: r.Lines, do: func(ctx context.Context) error { return r.speaker().Chat(ctx) }},
		{rate: r.Changes, do: r.change},
		{rate: r.VisitorLines, do: r.visitorLine},
		{rate: r.Cuts, do: r.cut},
	}
	if len(r.speakers) == 0 {
		topics = topics[3:] // there are only visitors
	}
	begin := time.Now()
	for {
		t := soonest(topics)
		if t == nil {
			<-ctx.Done()
			return nil
		}
		if err := Sleep(ctx, time.Until(begin.Add(t.due()))); err != nil {
			return nil
		}
		t.said++
		// What is begun is finished: a leave without its end proves nothing.
		if err := t.do(context.WithoutCancel(ctx)); err != nil {
			return err
		}
	}
}

// topic is something said at a steady rate.
type topic struct {
	rate float64 // per second
	said int
	do   func(context.Context) error
}

func (t *topic) due() time.Duration {
	return time.Duration(float64(t.said+1) / t.rate * float64(time.Second))
}

// soonest returns the topic due first, nil when all rates are 0.
func soonest(topics []topic) *topic {
	var first *topic
	for i := range topics {
		t := &topics[i]
		if t.rate > 0 && (first == nil || t.due() < first.due()) {
			first = t
		}
	}
	return first
}

// speaker returns the participants in turn.
func (r *run) speaker() Speaker {
	r.next++
	return r.speakers[r.next%len(r.speakers)]
}

// change lets the participant who is there longest go and another one come.
func (r *run) change(ctx context.Context) error {
	if err := r.come(ctx); err != nil {
		return err
	}
	oldest := r.speakers[0]
	r.speakers = r.speakers[1:]
	return oldest.Leave(ctx)
}

// visitorLine lets visitors speak in turn, spread over the swarm. What one says
// while it is without a network is sent when it is back.
func (r *run) visitorLine(context.Context) error {
	if v := r.pick(&r.visitor, (*Visitor).present); v != nil {
		return v.Chat()
	}
	return nil
}

// cut lets visitors lose their network in turn, spread over the swarm.
func (r *run) cut(context.Context) error {
	v := r.pick(&r.victim, func(v *Visitor) bool { return v.present() && !v.away() })
	if v == nil {
		return nil
	}
	cut := v.Cut
	if r.victim%2 == 0 {
		cut = v.CutHalfOpen
	}
	if err := cut(); err != nil && !errors.Is(err, errGone) {
		return fmt.Errorf("cut a visitor's connection: %w", err)
	}
	return nil
}

// pick returns the visitor whose turn it is of those that will do, or nil.
func (r *run) pick(turn *int, do func(*Visitor) bool) *Visitor {
	const stride = 7919 // prime: every visitor gets its turn
	all := r.Swarm.Visitors()
	for range all {
		*turn++
		if v := all[*turn*stride%len(all)]; do(v) {
			return v
		}
	}
	return nil
}

// drain waits until everybody has got everything, or its time is over: what
// has not come then is lost, and counted so by the report.
func (r *run) drain(ctx context.Context) error {
	limit := r.Drain
	if limit <= 0 {
		limit = 15 * time.Second
	}
	waiting, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	joined := r.Swarm.Progress().Joined
	for _, err := range []error{
		r.Swarm.Drain(waiting),
		r.Conference.Drain(waiting),
		poll(waiting, func() error {
			if now, ever := r.room.Visitors(); now != joined || ever != joined {
				return fmt.Errorf("the focus sees %d visitors and has seen %d of %d", now, ever, joined)
			}
			return nil
		}),
	} {
		if err != nil && ctx.Err() == nil {
			r.problem("%v", err)
		}
	}
	return ctx.Err()
}

// end lets main end the conference: every visitor and the focus must be told.
func (r *run) end(ctx context.Context) error {
	r.Ledger.Close()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := r.Conference.DisconnectVNode(ctx); err != nil {
		return err
	}
	if err := r.Swarm.WaitEnd(ctx); err != nil {
		return err
	}
	select {
	case <-r.room.Out():
	case <-ctx.Done():
		return fmt.Errorf("the focus was not told: %w", ctx.Err())
	}
	if destroyed, reason := r.room.Destroyed(); !destroyed || reason == "" {
		return fmt.Errorf("the focus was put out without the room's destruction and its reason (%q)", reason)
	}
	return nil
}

// watch calls Watch until the returned function is called.
func (r *run) watch() (stop func()) {
	if r.Watch == nil || r.WatchEvery <= 0 {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(r.WatchEvery)
		defer tick.Stop()
		last := r.usage()
		for {
			select {
			case <-tick.C:
			case <-quit:
				return
			}
			now := r.usage()
			s := Snapshot{Phase: r.current(), Progress: r.Swarm.Progress(), RSS: now.RSS}
			if d := now.At.Sub(last.At); d > 0 {
				s.CPU = float64(now.CPU-last.CPU) / float64(d)
			}
			last = now
			r.Watch(s)
		}
	}()
	return func() { close(quit); <-done }
}

func (r *run) current() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.phase
}

// usage is zero when the node is not measured or gone, which then shows
// elsewhere.
func (r *run) usage() Usage {
	if r.Meter == nil {
		return Usage{}
	}
	u, err := r.Meter.Read()
	if err != nil {
		return Usage{}
	}
	return u
}
