package conference

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"

	"vnode/internal/wire"
)

// SwarmOptions describes the visitors of one room.
type SwarmOptions struct {
	URL    string // the node's WebSocket, e.g. ws://127.0.0.1:52803/xmpp-websocket?room=demo
	Domain string // the node's, e.g. v3.meet.jitsi
	Room   string // bare JID, e.g. demo@conference.v3.meet.jitsi
	Ledger *Ledger

	NoAcks   bool          // leave stream management (XEP-0198) off
	Parallel int           // most joins under way at once; default 64
	Timeout  time.Duration // of one visitor's join, and of its end; default 30 s
	Dial     DialFunc      // default: TCP
	TLS      *tls.Config   // for wss:

	// A visitor whose connection is cut is without a network for a random time
	// between these two; default 50 to 500 ms.
	OutageMin, OutageMax time.Duration
}

// Swarm is the visitors of one room: one goroutine each, and nothing that
// grows with what they receive. Its methods are safe for concurrent use.
type Swarm struct {
	// Static after construction.
	opt      SwarmOptions
	ctx      context.Context // ends with Close
	cancel   context.CancelFunc
	joining  *semaphore.Weighted
	joins    recorder
	delivery recorder
	outages  outages
	wg       sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.
	visitors  []*Visitor
	joinBegan time.Time // of the first join
	joinEnded time.Time // of the last one that succeeded
}

// Visitor is one visitor of the node. Its methods are safe for concurrent use.
type Visitor struct {
	o      occupant
	ledger *Ledger
	name   string
}

// NewSwarm returns a swarm without visitors. Close it.
func NewSwarm(o SwarmOptions) *Swarm {
	if o.Parallel <= 0 {
		o.Parallel = 64
	}
	if o.Timeout <= 0 {
		o.Timeout = 30 * time.Second
	}
	if o.OutageMin <= 0 {
		o.OutageMin = 50 * time.Millisecond
	}
	if o.OutageMax <= 0 {
		o.OutageMax = 500 * time.Millisecond
	}
	s := &Swarm{opt: o, joining: semaphore.NewWeighted(int64(o.Parallel))}
	s.outages.least, s.outages.most = o.OutageMin, max(o.OutageMin, o.OutageMax)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Join lets n more visitors join, begun at that many per second (0: as fast as
// Parallel allows). It blocks until each has joined or failed, or ctx ends; the
// error tells of the first that failed and how many did.
func (s *Swarm) Join(ctx context.Context, n int, perSecond float64) error {
	begin := time.Now()
	failed := newFailures()
	for i := range n {
		if perSecond > 0 {
			due := begin.Add(time.Duration(float64(i) / perSecond * float64(time.Second)))
			if err := Sleep(ctx, time.Until(due)); err != nil {
				return err
			}
		}
		if err := s.joining.Acquire(ctx, 1); err != nil {
			return err
		}
		v := s.add()
		failed.wg.Go(func() {
			defer s.joining.Release(1)
			if err := v.o.waitJoined(ctx); err != nil {
				failed.add(err)
				return
			}
			s.mu.Lock()
			s.joinEnded = time.Now()
			s.mu.Unlock()
		})
	}
	return failed.wait(n, "visitors could not join")
}

// failures collects the errors of many goroutines.
type failures struct {
	wg    sync.WaitGroup
	mu    sync.Mutex
	count int   // guarded by mu
	first error // guarded by mu
}

func newFailures() *failures { return &failures{} }

func (f *failures) add(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.count++
	if f.first == nil {
		f.first = err
	}
}

func (f *failures) wait(n int, what string) error {
	f.wg.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.count == 0 {
		return nil
	}
	return fmt.Errorf("%d of %d %s, the first: %w", f.count, n, what, f.first)
}

func (s *Swarm) add() *Visitor {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := len(s.visitors)
	v := &Visitor{ledger: s.opt.Ledger, name: fmt.Sprintf("Visitor %d", n+1)}
	v.o = occupant{
		login:   loginOptions{URL: s.opt.URL, Domain: s.opt.Domain, Acks: !s.opt.NoAcks, Dial: s.opt.Dial, TLS: s.opt.TLS},
		room:    s.opt.Room,
		number:  n,
		timeout: s.opt.Timeout,
		joins:   &s.joins, delivery: &s.delivery, outages: &s.outages,
		visitor: true,
		joined:  make(chan struct{}), done: make(chan struct{}),
		tracker:  NewTracker(s.opt.Ledger, RoleParticipant|RoleVisitor|RoleFocus),
		presence: func(b *wire.Builder, nick string) { appendVisitorPresence(b, nick, v.name) },
	}
	s.visitors = append(s.visitors, v)
	if s.joinBegan.IsZero() {
		s.joinBegan = time.Now()
	}
	s.wg.Go(func() { v.o.run(s.ctx) })
	return v
}

// Visitors returns the visitors so far, those that failed or left included.
func (s *Swarm) Visitors() []*Visitor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.visitors[:len(s.visitors):len(s.visitors)]
}

// Drain waits until every visitor in the room has a connection and has got
// everything that was published before the call, or ctx has ended. Nobody may
// publish meanwhile.
func (s *Swarm) Drain(ctx context.Context) error {
	waiting := s.Visitors()
	return poll(ctx, func() error {
		var n uint64
		var still []*Visitor
		for _, v := range waiting {
			if !v.present() {
				continue
			}
			if m := v.missing(); m > 0 || v.away() {
				n += m
				still = append(still, v)
			}
		}
		waiting = still
		if len(still) > 0 {
			return fmt.Errorf("%d visitors wait for %d stanzas, or for a connection", len(still), n)
		}
		return nil
	})
}

// WaitEnd waits until every visitor's stay has ended, or ctx has.
func (s *Swarm) WaitEnd(ctx context.Context) error {
	for _, v := range s.Visitors() {
		select {
		case <-v.o.done:
		case <-ctx.Done():
			return fmt.Errorf("visitors still there: %w", ctx.Err())
		}
	}
	return nil
}

// Leave lets all visitors that are present leave, and waits until they have or
// ctx has ended.
func (s *Swarm) Leave(ctx context.Context) error {
	failed := newFailures()
	n := 0
	for _, v := range s.Visitors() {
		if !v.present() {
			continue
		}
		n++
		failed.wg.Go(func() {
			if err := v.Leave(ctx); err != nil {
				failed.add(err)
			}
		})
	}
	return failed.wait(n, "visitors could not leave")
}

// Close cuts every connection that is still open and waits for the goroutines.
func (s *Swarm) Close() {
	s.cancel()
	s.wg.Wait()
}

// Progress is a look at a swarm under way.
type Progress struct {
	Started, Joined, Failed int
	Tally                   Tally // without Lost: what is under way is not lost
	Latency                 Quantiles
	Resumptions             Resumptions
}

// Progress returns the counters so far.
func (s *Swarm) Progress() Progress {
	p := Progress{Latency: s.delivery.quantiles(), Resumptions: s.outages.sum()}
	for _, v := range s.Visitors() {
		p.Started++
		t, failed := v.so()
		if v.o.isJoined() {
			p.Joined++
		} else if failed {
			p.Failed++
		}
		p.Tally.Add(t)
	}
	return p
}

// Chat lets the visitor say one line in the room.
func (v *Visitor) Chat() error { return v.o.chat(v.ledger, RoleVisitor, v.name, Now(), 0) }

// Leave lets the visitor leave the room and close its stream. It blocks until
// the server has confirmed both, or ctx has ended.
func (v *Visitor) Leave(ctx context.Context) error { return v.o.leave(ctx) }

// Ended returns how the visitor's stay ended; ok is false while it has not.
func (v *Visitor) Ended() (end End, ok bool) {
	select {
	case <-v.o.done:
		return v.o.ending(), true
	default:
		return End{}, false
	}
}

// Tally returns what the visitor got; what is missing now counts as lost.
func (v *Visitor) Tally() Tally {
	v.o.mu.Lock()
	defer v.o.mu.Unlock()
	return v.o.tracker.Tally()
}

func (v *Visitor) missing() uint64 {
	v.o.mu.Lock()
	defer v.o.mu.Unlock()
	return v.o.tracker.Missing()
}

func (v *Visitor) so() (t Tally, failed bool) {
	v.o.mu.Lock()
	defer v.o.mu.Unlock()
	return v.o.tracker.tally, v.o.end.Err != nil
}

// present reports whether the visitor is in the room.
func (v *Visitor) present() bool {
	if !v.o.isJoined() {
		return false
	}
	v.o.mu.Lock()
	defer v.o.mu.Unlock()
	return !v.o.leaving && v.o.end == (End{})
}

// pollEvery is how often a condition over a whole swarm is looked at.
const pollEvery = 20 * time.Millisecond

// poll waits until try returns nil. At the end of ctx it returns try's last
// error as well.
func poll(ctx context.Context, try func() error) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w (%w)", err, ctx.Err())
		case <-tick.C:
		}
	}
}
