package conference

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// MainOptions describes a simulated main server and the one node it knows.
type MainOptions struct {
	Domain   string        // of the participants, e.g. meet.jitsi
	Prefix   string        // of rooms' domains, default conference
	Node     string        // the node's domain, e.g. v3.meet.jitsi
	NodeAddr string        // the node's server listener, host:port
	Listener net.Listener  // where the node finds main; Main closes it
	Dialback bool          // offer and use only dialback (XEP-0220), not SASL EXTERNAL
	Timeout  time.Duration // of a negotiation and of an answer; default 10 s
	Dial     DialFunc      // default: TCP
	Log      *slog.Logger
}

// Main plays the main server: Prosody with Jitsi's visitors modules, as far as
// the node can tell. Like those it can reach the node's components from its own
// components only over streams the node opened (XEP-0288). Its methods are safe
// for concurrent use.
type Main struct {
	// Static after construction.
	opt    MainOptions
	server *server
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.
	rooms   map[string]*MainRoom // by bare JID on main
	streams []*mainStream
	changed chan struct{}          // closed and made anew when streams changes
	waiting map[string]chan string // answers to IQs by id: the type
	faults  []string
	closing bool
}

// NewMain starts to listen. Close it.
func NewMain(o MainOptions) (*Main, error) {
	if o.Prefix == "" {
		o.Prefix = "conference"
	}
	if o.Timeout <= 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	m := &Main{
		opt: o, rooms: make(map[string]*MainRoom),
		changed: make(chan struct{}), waiting: make(map[string]chan string),
	}
	own := []string{o.Domain, m.roomsDomain(), "visitors." + o.Domain, "polls." + o.Domain}
	nodes := []string{o.Node, m.nodeRoomsDomain(), "polls." + o.Node} // as Jitsi's s2s_whitelist
	var err error
	if m.server, err = newServer(own, nodes); err != nil {
		return nil, fmt.Errorf("simulated main: %w", err)
	}
	m.server.addr, m.server.dial, m.server.timeout, m.server.dialback = o.NodeAddr, o.Dial, o.Timeout, o.Dialback
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.wg.Go(m.serve)
	return m, nil
}

func (m *Main) roomsDomain() string     { return m.opt.Prefix + "." + m.opt.Domain }
func (m *Main) nodeRoomsDomain() string { return m.opt.Prefix + "." + m.opt.Node }

// serve accepts streams until the listener is closed.
func (m *Main) serve() {
	for {
		conn, err := m.opt.Listener.Accept()
		if err != nil {
			return
		}
		m.wg.Go(func() {
			// A half-negotiated stream ends with Main too.
			defer context.AfterFunc(m.ctx, func() { _ = conn.Close() })()
			h, err := m.server.accept(conn)
			if err != nil && m.ctx.Err() == nil {
				m.fault("%v", err)
			}
			if h != nil {
				m.begin(h, false)
			}
		})
	}
}

// fault notes what a main server would object to.
func (m *Main) fault(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	m.opt.Log.Warn("the node did wrong", "reason", text)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.faults = append(m.faults, text)
}

// Faults returns what the node did wrong so far, one line each.
func (m *Main) Faults() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.faults)
}

// Close stops to listen and ends every stream with </stream:stream>; what has
// not ended with ctx is cut.
func (m *Main) Close(ctx context.Context) error {
	var errs []error
	m.mu.Lock()
	m.closing = true
	streams := slices.Clone(m.streams)
	m.mu.Unlock()
	_ = m.opt.Listener.Close()
	for _, s := range streams {
		s.out.close([]byte("</stream:stream>"))
	}
	for _, s := range streams {
		select {
		case <-s.out.done:
		case <-ctx.Done():
			errs = append(errs, fmt.Errorf("stream %s to %s: %w", s.local, s.remote, ctx.Err()))
		}
	}
	m.cancel()
	m.wg.Wait()
	return errors.Join(errs...)
}

// newRealJID is an anonymous participant's full JID, whose first eight
// characters are the nick.
func newRealJID(domain string) (full, nick string) {
	user := strings.ToLower(rand.Text())
	return user + "@" + domain + "/" + rand.Text()[:12], user[:8]
}
