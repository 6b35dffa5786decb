package peers

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"text/template"

	"vnode/internal/xmpptest/conference"
)

// Names of the room at servers that need no focus.
const (
	mucDomain = "peers.test"
	mucRooms  = "conference." + mucDomain
	mucRoom   = "room@" + mucRooms
	wsPath    = "/xmpp-websocket"
)

//go:embed config
var configs embed.FS

var templates = template.Must(template.New("").Funcs(template.FuncMap{
	// What is filled in are our own names and a directory: quoting as Go does
	// is valid in both languages for them.
	"lua": strconv.Quote, "yaml": strconv.Quote,
}).ParseFS(configs, "config/*"))

// settings are what the templates are filled in with.
type settings struct {
	Dir           string
	Port          int
	Domain, Rooms string
	JitsiGC       bool
}

// configure writes a server's configuration and returns its path.
func (s *Server) configure(name string, port int) (string, error) {
	var b bytes.Buffer
	err := templates.ExecuteTemplate(&b, name, settings{
		Dir: s.dir, Port: port, Domain: mucDomain, Rooms: mucRooms, JitsiGC: s.Name == "prosody",
	})
	if err != nil {
		return "", err
	}
	path := filepath.Join(s.dir, name)
	return path, os.WriteFile(path, b.Bytes(), 0o600)
}

// startMUC runs a MUC server of somebody else's, once its program is found.
func startMUC(ctx context.Context, s *Server, config string, o Options, run func(config string) command) error {
	if err := s.hold(1); err != nil {
		return err
	}
	path, err := s.configure(config, int(s.ports[0].Addr().Port()))
	if err != nil {
		return err
	}
	addr := s.ports[0].String()
	s.serveRoom("ws://" + addr + wsPath)
	c := run(path)
	c.cores = o.Cores
	return s.run(ctx, c, "tcp", addr)
}

// serveRoom says that visitors find the room there, and speakers too.
func (s *Server) serveRoom(url string) {
	s.URL, s.Domain, s.Room, s.Echoes = url, mucDomain, mucRoom, true
	s.open = func(ctx context.Context, speakers int, l *conference.Ledger) (*Stage, error) {
		local := conference.NewLocal(conference.LocalOptions{URL: s.URL, Domain: s.Domain, Room: s.Room, Dial: s.Dial(), Ledger: l})
		st := &Stage{close: local.Close}
		for range speakers {
			p, err := local.Join(ctx)
			if err != nil {
				_ = local.Close(context.WithoutCancel(ctx)) // the first error counts
				return nil, err
			}
			st.Speakers = append(st.Speakers, p)
		}
		return st, nil
	}
}

func startProsody(ctx context.Context, s *Server, o Options) error {
	// Debian's package puts it where only root's PATH looks.
	program, err := find("prosody", "/usr/bin/prosody", "/usr/sbin/prosody", "/usr/local/sbin/prosody")
	if err != nil {
		return err
	}
	s.Version = packageVersion(ctx, "prosody")
	return startMUC(ctx, s, "prosody.cfg.lua", o, func(config string) command {
		return command{program: program, args: []string{"-F", "--config", config}}
	})
}

func startEjabberd(ctx context.Context, s *Server, o Options) error {
	program, err := find("ejabberd", "erl")
	if err != nil {
		return err
	}
	lib, err := ejabberdLib()
	if err != nil {
		return err
	}
	s.Version = packageVersion(ctx, "ejabberd")
	return startMUC(ctx, s, "ejabberd.yml", o, func(config string) command {
		cores := len(o.Cores)
		if cores == 0 {
			cores = runtime.NumCPU()
		}
		return command{
			program: program,
			// Without -sname there is no distribution, and no epmd is started.
			// Schedulers that spin while they wait would be measured as work.
			args: []string{"-noinput", "+K", "true", "+P", "250000", "+Q", "65536",
				"+S", fmt.Sprintf("%d:%d", cores, cores), "+sbwt", "none", "+sbwtdcpu", "none", "+sbwtdio", "none",
				"-mnesia", "dir", strconv.Quote(filepath.Join(s.dir, "mnesia")), "-s", "ejabberd"},
			env: []string{"ERL_LIBS=" + lib, "EJABBERD_CONFIG_PATH=" + config,
				"EJABBERD_LOG_PATH=" + filepath.Join(s.dir, "ejabberd.log"), "ERL_CRASH_DUMP_BYTES=0"},
		}
	})
}

// ejabberdLib finds the directory Erlang finds ejabberd in.
func ejabberdLib() (string, error) {
	for _, pattern := range []string{"/usr/lib/*/ejabberd-*/ebin/ejabberd.beam", "/usr/lib/ejabberd*/ebin/ejabberd.beam", "/usr/lib/erlang/lib/ejabberd-*/ebin/ejabberd.beam"} {
		// The patterns are well-formed, the only error there is.
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return filepath.Dir(filepath.Dir(filepath.Dir(found[len(found)-1]))), nil
		}
	}
	return "", missing("ejabberd")
}

func missing(name string) error {
	return fmt.Errorf("%s is %w: as root, apt-get install --no-install-recommends %s", name, ErrNotInstalled, name)
}

// find looks a program of that package up by its names.
func find(pkg string, names ...string) (string, error) {
	for _, n := range names {
		if path, err := exec.LookPath(n); err == nil {
			return path, nil
		}
	}
	return "", missing(pkg)
}

// packageVersion is the version of a Debian package, empty elsewhere.
func packageVersion(ctx context.Context, name string) string {
	out, err := exec.CommandContext(ctx, "dpkg-query", "-W", "-f", "${Version}", name).Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

// programVersion is what a program says to "version", empty when nothing.
func programVersion(ctx context.Context, program string) string {
	out, err := exec.CommandContext(ctx, program, "version").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}
