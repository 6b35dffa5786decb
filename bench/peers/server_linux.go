package peers

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"vnode/internal/port"
	"vnode/internal/xmpptest/conference"
)

// ErrNotInstalled is wrapped by the errors of [Start] when a server's program
// is not on this machine. Its text says how to get it.
var ErrNotInstalled = errors.New("not installed")

// Server is one running server. Stop it.
type Server struct {
	// Static after construction.

	Name      string // prosody, prosody-default-gc, ejabberd, vnode or floor
	Version   string // as the program or its package tells, or empty
	Transport string // tcp or unix
	URL       string // of its WebSocket
	Domain    string // visitors log in at
	Room      string // bare JID
	// Echoes says that speakers get what visitors get: they are in the room the
	// server serves. A node's are on the main server.
	Echoes bool
	Socket string // path of the unix socket that serves the URL; empty: TCP

	dir     string
	ports   port.Ports // it listens at
	proc    *process
	helpers family
	open    func(ctx context.Context, speakers int, l *conference.Ledger) (*Stage, error)
}

// Stage is a room whose speakers are in and which visitors may enter. Close
// it.
type Stage struct {
	Speakers []conference.Speaker
	close    func(context.Context) error
}

// Close lets everybody of the stage go. It blocks until they have or ctx ends.
func (s *Stage) Close(ctx context.Context) error { return s.close(ctx) }

// Options says how servers are run.
type Options struct {
	Cores []int // the server may use; empty: all
	// VNode is the program of our node, cmd/vnode as built.
	VNode string
	// Self is the program and first arguments that run [floor.Command]; the
	// floor needs it.
	Self []string
	// Speakers that will join the floor, before anybody else.
	Speakers int
}

// Kind is a server and how it is reached, for example prosody or vnode/unix.
type Kind struct {
	Name  string
	Title string // what it is, for people
	start func(context.Context, *Server, Options) error
	unix  bool
}

var kinds = []Kind{
	{Name: "vnode", Title: "vnode", start: startVNode},
	{Name: "vnode/unix", Title: "vnode, WebSockets over a unix socket", start: startVNode, unix: true},
	{Name: "prosody", Title: "Prosody's MUC, garbage collector as Jitsi's Docker images set it", start: startProsody},
	{Name: "prosody-default-gc", Title: "Prosody's MUC, garbage collector as packaged", start: startProsody},
	{Name: "ejabberd", Title: "ejabberd's MUC", start: startEjabberd},
	{Name: "floor", Title: "the floor: a ready buffer, one send each", start: startFloor},
	{Name: "floor/unix", Title: "the floor over unix sockets", start: startFloor, unix: true},
}

// Kinds returns every kind there is.
func Kinds() []Kind { return append([]Kind(nil), kinds...) }

// FindKind returns the kind of that name.
func FindKind(name string) (Kind, error) {
	var names []string
	for _, k := range kinds {
		if k.Name == name {
			return k, nil
		}
		names = append(names, k.Name)
	}
	return Kind{}, fmt.Errorf("no server %q; there are %s", name, strings.Join(names, ", "))
}

// Start runs a server and blocks until it listens. The error wraps
// [ErrNotInstalled] when its program is not here; it carries the end of the
// server's log when it did not come up.
func (k Kind) Start(ctx context.Context, o Options) (*Server, error) {
	dir, err := os.MkdirTemp("", "vnode-bench-")
	if err != nil {
		return nil, fmt.Errorf("%s: %w", k.Name, err)
	}
	name, transport, _ := strings.Cut(k.Name, "/")
	if transport == "" {
		transport = "tcp"
	}
	s := &Server{Name: name, Transport: transport, dir: dir}
	if err := k.start(ctx, s, o); err != nil {
		return nil, fmt.Errorf("%s: %w", k.Name, errors.Join(err, s.Stop(context.WithoutCancel(ctx))))
	}
	s.helpers = descendants(s.proc.PID())
	return s, nil
}

// Open lets that many speakers in, with the right to speak. It blocks until
// they are in or ctx ends.
func (s *Server) Open(ctx context.Context, speakers int, l *conference.Ledger) (*Stage, error) {
	st, err := s.open(ctx, speakers, l)
	if err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", s.Name, err, s.proc.LogTail())
	}
	return st, nil
}

// Usage returns what the server's processes have used. It fails when the
// server is gone.
func (s *Server) Usage() (Usage, error) {
	select {
	case <-s.proc.Done():
		return Usage{}, s.proc.ended()
	default:
		return usageOf(s.helpers.pids(s.proc.PID()))
	}
}

// Stop ends the server with everything it started and removes its files. It
// blocks until nothing is left, a few seconds at most; when ctx ends it does
// not wait for an orderly end.
func (s *Server) Stop(ctx context.Context) error {
	var err error
	if s.proc != nil {
		err = s.proc.stop(ctx)
	}
	return errors.Join(err, s.ports.Close(), os.RemoveAll(s.dir))
}

// run starts the server's process and waits until it listens.
func (s *Server) run(ctx context.Context, c command, network, addr string) error {
	c.dir = s.dir
	p, err := start(c)
	if err != nil {
		return err
	}
	s.proc = p
	return p.listens(ctx, network, addr)
}

// hold takes ports for the server to listen on.
func (s *Server) hold(n int) (err error) {
	s.ports, err = port.HoldAll(n)
	return err
}

// Dial returns what reaches the URL; nil: any TCP dialer.
func (s *Server) Dial() conference.DialFunc {
	if s.Socket == "" {
		return nil
	}
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", s.Socket)
	}
}

// CrowdURL is the URL as [vnode/bench/crowd] understands it.
func (s *Server) CrowdURL() string {
	if s.Socket == "" {
		return s.URL
	}
	_, rest, _ := strings.Cut(s.URL, "://")
	_, path, _ := strings.Cut(rest, "/")
	return "ws+unix://" + s.Socket + ":/" + path
}
