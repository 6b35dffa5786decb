package prosody

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// readyLine is what modules/mod_vnode_main.lua logs when all hosts are up.
const readyLine = "vnode main side ready"

// Server is a running Prosody. Its methods are safe for concurrent use, but one
// goroutine at a time may call Restart, Kill and Stop.
type Server struct {
	// Static after construction.
	opts  Options
	bin   string
	files layout
	ports *Reservation
	log   *logBook

	// Guarded by mu.
	mu   sync.Mutex
	proc *process
}

// Start writes a configuration and runs Prosody with it. It returns when the
// server listens; ctx bounds that wait only. The caller owns the server and
// calls Stop. A failed Start leaves nothing behind, and its error has the end
// of the log.
func Start(ctx context.Context, opts Options) (*Server, error) {
	s, err := prepare(opts)
	if err != nil {
		return nil, err
	}
	if err := s.launch(ctx); err != nil {
		return nil, errors.Join(err, s.Stop(ctx))
	}
	return s, nil
}

// prepare makes all but the process, or nothing.
func prepare(opts Options) (*Server, error) {
	s := &Server{ports: opts.Ports}
	if err := s.fill(opts); err != nil {
		return nil, errors.Join(err, s.release())
	}
	return s, nil
}

func (s *Server) fill(opts Options) (err error) {
	if s.bin, err = Find(); err != nil {
		return err
	}
	if s.opts, err = opts.withDefaults(); err != nil {
		return err
	}
	if s.opts.CA == nil {
		if s.opts.CA, err = NewCA(); err != nil {
			return err
		}
	}
	if s.ports == nil {
		if s.ports, err = Reserve(); err != nil {
			return err
		}
	}
	return s.prepareDir()
}

func (s *Server) prepareDir() error {
	root, err := ownDir(s.opts.Dir)
	if err != nil {
		return err
	}
	s.files = layout{root: root}
	if err := s.files.write(s.opts, s.ports); err != nil {
		return fmt.Errorf("prosody: fill %s: %w", root, err)
	}
	if s.log, err = openLog(s.files.log()); err != nil {
		return fmt.Errorf("prosody: open log: %w", err)
	}
	return nil
}

// ownDir returns an empty directory with an absolute path.
func ownDir(dir string) (string, error) {
	if dir == "" {
		made, err := os.MkdirTemp("", "vnode-prosody-")
		if err != nil {
			return "", fmt.Errorf("prosody: make directory: %w", err)
		}
		return made, nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("prosody: directory: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("prosody: make directory: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("prosody: read directory: %w", err)
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("prosody: directory %s is not empty", dir)
	}
	return dir, nil
}

// launch starts a process and waits until it listens.
func (s *Server) launch(ctx context.Context) error {
	from := s.log.end()
	proc, err := startProcess(s.bin, s.files, s.log)
	if err != nil {
		return err
	}
	s.setProc(proc)
	if _, err := s.log.wait(ctx, from, readyLine, proc.done); err != nil {
		return fmt.Errorf("%w; its log:\n%s", err, s.LogTail(30))
	}
	for _, addr := range []netip.AddrPort{s.ports.S2S(), s.ports.C2S(), s.ports.HTTP()} {
		if err := probe(ctx, addr); err != nil {
			return fmt.Errorf("prosody: does not listen on %v: %w; its log:\n%s", addr, err, s.LogTail(30))
		}
	}
	return nil
}

func probe(ctx context.Context, addr netip.AddrPort) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", addr.String())
	if err != nil {
		return err
	}
	return conn.Close()
}

func (s *Server) setProc(p *process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proc = p
}

func (s *Server) process() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.proc
}

// Kill ends the process with SIGKILL, as a crash would, and waits for its end.
// Ports, data and log stay; Restart brings it back.
func (s *Server) Kill() error {
	if proc := s.process(); proc != nil {
		return proc.kill()
	}
	return nil
}

// shutdown lets Prosody close its streams with system-shutdown, for which it
// gives silent peers six seconds, and kills it after ten or when ctx ends.
func (s *Server) shutdown(ctx context.Context) error {
	proc := s.process()
	if proc == nil {
		return nil
	}
	if err := proc.terminate(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	select {
	case <-proc.done:
		return nil
	case <-ctx.Done():
		return proc.kill()
	}
}

// Restart ends the process, if there is one, like Stop, and starts another
// with the same configuration, ports and data. It blocks until that listens or
// ctx ends; then the server is down.
func (s *Server) Restart(ctx context.Context) error {
	if err := s.shutdown(ctx); err != nil {
		return err
	}
	if err := s.launch(ctx); err != nil {
		return errors.Join(err, s.Kill())
	}
	return nil
}

// Stop ends the process, closes the reserved ports and removes the directory
// with the log. It blocks until the process is gone, which is killed when ctx
// ends or after ten seconds. The server is of no use afterwards; stopping it
// again is harmless.
func (s *Server) Stop(ctx context.Context) error {
	return errors.Join(s.shutdown(ctx), s.release())
}

// release gives back all that is no process.
func (s *Server) release() error {
	var errs []error
	if s.log != nil {
		if err := s.log.close(); err != nil && !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	if s.files.root != "" {
		errs = append(errs, os.RemoveAll(s.files.root))
	}
	return errors.Join(append(errs, s.ports.Close())...)
}

// MainDomain returns the domain of the participants.
func (s *Server) MainDomain() string { return s.opts.MainDomain }

// RoomsDomain returns the domain of the rooms.
func (s *Server) RoomsDomain() string { return "conference." + s.opts.MainDomain }

// VisitorsDomain returns the domain of the visitors component.
func (s *Server) VisitorsDomain() string { return "visitors." + s.opts.MainDomain }

// AuthDomain returns the domain of the focus, whose bare JID is
// focus@AuthDomain.
func (s *Server) AuthDomain() string { return s.opts.AuthDomain }

// FocusPassword returns the password of the focus.
func (s *Server) FocusPassword() string { return s.opts.FocusPassword }

// S2SAddr returns the address for streams of other servers.
func (s *Server) S2SAddr() netip.AddrPort { return s.ports.S2S() }

// C2SAddr returns the address for client streams over TCP, of the focus (SCRAM
// or PLAIN, to AuthDomain) and of participants (ANONYMOUS, to MainDomain).
func (s *Server) C2SAddr() netip.AddrPort { return s.ports.C2S() }

// WebSocketURL returns the URL for clients of MainDomain (RFC 7395).
func (s *Server) WebSocketURL() string {
	return "ws://" + s.ports.HTTP().String() + "/xmpp-websocket"
}

// CA returns the authority trusted with [AuthExternal]: nodes get their
// certificate from its Issue and verify the server's with its Pool.
func (s *Server) CA() *CA { return s.opts.CA }

// CertPool returns a pool with which the certificates of this server verify,
// signed or self-signed.
func (s *Server) CertPool() (*x509.CertPool, error) {
	pool := s.opts.CA.Pool()
	for _, host := range hosts(s.opts) {
		cert, err := os.ReadFile(filepath.Join(s.files.certs(), host+".crt"))
		if err != nil {
			return nil, fmt.Errorf("prosody: read certificate: %w", err)
		}
		if !pool.AppendCertsFromPEM(cert) {
			return nil, fmt.Errorf("prosody: certificate of %s is unreadable", host)
		}
	}
	return pool, nil
}

// PID returns the process id of the newest process.
func (s *Server) PID() int { return s.process().pid() }

// Exited returns a channel that is closed when the newest process is gone.
func (s *Server) Exited() <-chan struct{} { return s.process().done }

// LogPath returns the log file, which lives until Stop.
func (s *Server) LogPath() string { return s.files.log() }

// LogTail returns the newest n lines of Logs.
func (s *Server) LogTail(n int) string { return s.log.tail(n) }

// Logs returns the log of all runs as far as it is kept in memory: 10,000 lines
// at least. It works after Stop too.
func (s *Server) Logs() string { return s.log.tail(math.MaxInt) }

// WaitLog returns the first line of the log, of all runs, that has text in it.
// Without one it blocks until there is, the process exits or ctx ends.
func (s *Server) WaitLog(ctx context.Context, text string) (string, error) {
	return s.log.wait(ctx, 0, text, s.Exited())
}
