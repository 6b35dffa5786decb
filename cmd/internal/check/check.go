// Package check goes and looks whether everything around a node fits, from the
// node's configuration alone: whether main takes its streams and reaches it,
// whether jicofo can log in, whether visitors get through the public URL,
// whether certificates, clocks, TURN secrets and the kernel's limits are in
// order.
//
// Each [Finding] says what was seen, why it matters, and which line to change in
// which file. The files of main, jicofo and nginx are looked up where Debian
// keeps them; on another machine they are named only.
//
// A running node is not disturbed: it keeps its ports and its streams, and is
// asked through its admin listener.
package check

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"regexp"
	"sync"
	"time"

	"vnode/cmd/internal/config"
)

// Level says how bad a finding is.
type Level string

// The levels. Only Fail makes a report bad.
const (
	OK      Level = "ok"
	Skipped Level = "skipped" // it could not be looked at
	Warn    Level = "warning"
	Fail    Level = "error"
)

// Finding is what one look showed.
type Finding struct {
	// Check names what was looked at, a word that stays the same.
	Check string `json:"check"`
	Level Level  `json:"level"`
	// What was seen.
	What string `json:"what"`
	// Why it matters, for what is not OK.
	Why string `json:"why,omitempty"`
	// Fix is the line to change, or the command to run; File where.
	Fix  string `json:"fix,omitempty"`
	File string `json:"file,omitempty"`
}

// Options say what to check.
type Options struct {
	Config *config.Config
	// ConfigFile is the node's configuration file, to be named; empty for a node
	// whose configuration is its environment.
	ConfigFile string
	// URL is the public WebSocket URL, without ?vnode=. Empty:
	// wss://MAIN-DOMAIN/xmpp-websocket.
	URL string
	// Visitors is how many the node is to carry.
	Visitors int
	// Timeout bounds each look that goes over the network. Zero: 10 s.
	Timeout time.Duration
	// Root stands for /: below it are etc, proc and so on.
	Root string
	// Roots are the authorities the public URL's and TURN servers'
	// certificates are checked with; nil: the system's.
	Roots *x509.CertPool
	// Dial reaches the public URL; nil: TCP.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// Report is all findings about a node.
type Report struct {
	Node     string    `json:"node"`
	OK       bool      `json:"ok"`
	Findings []Finding `json:"findings"`
}

// checker is a check at work.
type checker struct {
	// Static after construction.
	Options
	cfg   *config.Config
	files *places

	// Static after prepare.
	running *runningNode // nil when none answers
	ports   []Finding    // of a node that does not run
	cert    nodeCertificate
}

// look is one thing to look at. It returns at least one finding.
type look struct {
	name string
	run  func(*checker, context.Context) []Finding
}

// looks are all, in the order they are told.
var looks = []look{
	{"node", (*checker).lookNode},
	{"state-directory", (*checker).lookState},
	{"secrets", (*checker).lookSecrets},
	{"certificate", (*checker).lookCertificate},
	{"main-address", (*checker).lookMainAddress},
	{"main-streams", (*checker).lookMainStreams},
	{"main-reaches-node", (*checker).lookMainReachesNode},
	{"focus", (*checker).lookFocus},
	{"jicofo-login", (*checker).lookJicofoLogin},
	{"jicofo", (*checker).lookJicofo},
	{"websocket", (*checker).lookWebSocket},
	{"turn", (*checker).lookTURN},
	{"limits", (*checker).lookLimits},
	{"nginx", (*checker).lookNginx},
}

// Run looks at everything, several things at a time, and tells each finding as
// soon as those before it are known. It takes a few seconds, and not longer than
// about twice the timeout.
func Run(ctx context.Context, o Options, tell func(Finding)) (*Report, error) {
	if o.Config == nil {
		return nil, errors.New("check: no configuration")
	}
	c := newChecker(o)
	c.prepare(ctx)
	results := make([]chan []Finding, len(looks))
	var wg sync.WaitGroup
	for i, l := range looks {
		results[i] = make(chan []Finding, 1)
		wg.Go(func() {
			found := l.run(c, ctx)
			for j := range found {
				if found[j].Check == "" {
					found[j].Check = l.name
				}
			}
			results[i] <- found
		})
	}
	report := &Report{Node: c.cfg.Host(), OK: true, Findings: []Finding{}}
	for _, r := range results {
		for _, f := range <-r {
			if o.ConfigFile == "" && f.File == c.files.config {
				f.Fix = asVariables(f.Fix)
			}
			report.OK = report.OK && f.Level != Fail
			report.Findings = append(report.Findings, f)
			tell(f)
		}
	}
	wg.Wait()
	return report, ctx.Err()
}

var configLine = regexp.MustCompile(`([a-z0-9]+(?:-[a-z0-9]+)*) = (?:\["?|")?([^\s"\],]*)(?:"?\]|")?`)

// asVariables turns the lines of a configuration file in an advice into variables of
// the environment.
func asVariables(fix string) string {
	return configLine.ReplaceAllStringFunc(fix, func(line string) string {
		m := configLine.FindStringSubmatch(line)
		return config.EnvName(m[1]) + "=" + m[2]
	})
}

func newChecker(o Options) *checker {
	if o.URL == "" {
		o.URL = "wss://" + o.Config.MainDomain + "/xmpp-websocket"
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	if o.Root == "" {
		o.Root = "/"
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &checker{Options: o, cfg: o.Config, files: findPlaces(o)}
}

// prepare learns what several looks need to know.
func (c *checker) prepare(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	c.running = c.askNode(ctx)
	if c.running == nil {
		// Before anything else takes the node's place.
		c.ports = c.lookFreePorts()
	}
	c.cert = c.loadCertificate()
}

// bounded is ctx with the timeout of one look.
func (c *checker) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, c.Timeout)
}

func ok(what string) Finding { return Finding{Level: OK, What: what} }

func skipped(what, fix string) Finding { return Finding{Level: Skipped, What: what, Fix: fix} }

// all returns the findings that are not OK, or one that is.
func all(bad []Finding, what string) []Finding {
	for _, f := range bad {
		if f.Level != OK {
			return bad
		}
	}
	return append(bad, ok(what))
}
