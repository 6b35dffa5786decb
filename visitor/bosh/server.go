package bosh

import (
	"crypto/rand"
	"net/http"
	"sync"
	"time"

	"vnode/internal/guard"
)

// Config bounds what sessions may use. A zero field means its default.
type Config struct {
	// Guard keeps a panic to the session that met it; nil: a panic ends the process.
	Guard *guard.Guard
	// Sessions is how many there are at once, those that have ended but
	// whose client has not heard of it included; default 20,000. Above it
	// clients get HTTP 503.
	Sessions int
	// BodyBytes is the largest <body/> of a client, until its session is given
	// another limit by [Conn.SetLimit]; default 32 KiB.
	BodyBytes int
	// InputBytes is how much of what a client sent may wait to be read
	// before its next request has to wait as well; default 256 KiB.
	InputBytes int
	// OutputBytes is how much may wait for the client's next request before
	// Write blocks; default 256 KiB.
	OutputBytes int
	// Wait is the longest time a request is held; default 55 s, less than
	// the 60 s after which nginx, unless told otherwise, answers for us with
	// 504. Clients ask for less.
	Wait time.Duration
	// Inactivity is how long a session lives without a request; default
	// 60 s. MaxPause is the same for a client that has announced it
	// (XEP-0124 §10); default 120 s.
	Inactivity, MaxPause time.Duration
	// Polling is the time in which a client must not ask again and again in
	// vain; default 5 s.
	Polling time.Duration
	// Transfer is how long a request may take to arrive and a response to
	// be taken; default 30 s.
	Transfer time.Duration
	// Domain, unless empty, ends the sids behind a dot: a server in front of
	// this one sees whose session a request is of.
	Domain string
	// Shard is announced as x-jitsi-shard, unless empty.
	Shard string
}

func (c Config) withDefaults() Config {
	setDefault(&c.Sessions, 20_000)
	setDefault(&c.BodyBytes, 32<<10)
	setDefault(&c.InputBytes, 256<<10)
	setDefault(&c.OutputBytes, 256<<10)
	setDefault(&c.Wait, 55*time.Second)
	setDefault(&c.Inactivity, time.Minute)
	setDefault(&c.MaxPause, 2*time.Minute)
	setDefault(&c.Polling, 5*time.Second)
	setDefault(&c.Transfer, 30*time.Second)
	return c
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// Server is the http.Handler of a BOSH endpoint, for whatever path, Host and
// query it is asked. Its methods may be called from any goroutine.
type Server struct {
	// Static after construction.
	cfg    Config
	accept func(*Conn, *http.Request) bool

	mu       sync.Mutex       // guards what follows
	sessions map[string]*Conn // by sid
}

// NewServer returns a Server that gives each new session to accept, with the
// request that asked for it. accept must not block, nor use the request when
// it has returned; the connection is then its owner's, to be read, written and
// closed. False refuses the session with HTTP 503, and the connection is gone.
func NewServer(cfg Config, accept func(*Conn, *http.Request) bool) *Server {
	return &Server{cfg: cfg.withDefaults(), accept: accept, sessions: make(map[string]*Conn)}
}

// create makes a session for req, which has no sid, and gives it away. nil
// means that it is refused.
func (s *Server) create(req *request, r *http.Request) (*Conn, *waiter) {
	sid := rand.Text()
	if s.cfg.Domain != "" {
		sid += "." + s.cfg.Domain
	}
	c := newConn(s, sid, req, r)
	if !s.add(c) {
		return nil, nil
	}
	taken := false
	defer func() {
		if !taken {
			c.discard()
		}
	}()
	w := c.begin(req)
	if taken = s.accept(c, r); !taken {
		return nil, nil
	}
	return c, w
}

func (s *Server) add(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sessions) >= s.cfg.Sessions {
		return false
	}
	s.sessions[c.sid] = c
	return true
}

func (s *Server) find(sid string) *Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[sid]
}

// remove forgets a session. It may be called with the session's lock held:
// nobody takes that while holding ours.
func (s *Server) remove(sid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, sid)
}
