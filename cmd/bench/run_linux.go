package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"

	"vnode/bench/lab"
	"vnode/internal/xmpptest/conference"
)

var runCommand = command{
	name: "run", summary: "one scenario, with every knob; also against a node that runs",
	help: `bench run SCENARIO [flags]

Scenarios:
` + scenarioList() + `
Without -target a node is started for it. With -target the node that runs there
is measured: bench logs in as its focus, and plays the main server, which the
node must be configured to find at -main-listen:

  vnode -id 3 -main-s2s 127.0.0.1:5269 &
  bench run steady -target 'ws://127.0.0.1:52803/xmpp-websocket?room=bench' \
      -s2s 127.0.0.1:52693 -focus 127.0.0.1:52223 -focus-password-file focus.txt \
      -main-listen 127.0.0.1:5269 -admin 127.0.0.1:52603

or joins a room of a real main Prosody with Jitsi's modules, as a scripted focus
and participants:

  bench run steady -target ... -focus ... -focus-password-file focus.txt \
      -main ws://127.0.0.1:5280/xmpp-websocket -main-focus 127.0.0.1:5222 \
      -main-focus-password-file main-focus.txt

CPU and memory of the node are measured if its process is on this machine.
Visitors can also come by wss:// (-insecure takes any certificate), by BOSH
(http://HOST/http-bind), by client TCP (xmpp://HOST:PORT), or through a unix
socket (ws+unix:///run/vnode/v3.sock:/xmpp-websocket?room=bench).
`,
	setup: func(f *flag.FlagSet) func(context.Context, io.Writer, io.Writer, []string) error {
		var s settings
		s.declare(f)
		k := knobs{set: make(map[string]bool)}
		k.declare(f)
		var t targetFlags
		t.declare(f)
		transports := f.String("transports", "tcp", "how visitors of a node of its own connect, of tcp, unix, bosh, xmpp")
		repeat := f.Int("repeat", 1, "how often it is measured")
		return func(ctx context.Context, out, progress io.Writer, args []string) error {
			f.Visit(func(f *flag.Flag) { k.set[f.Name] = true })
			if len(args) != 1 {
				return fmt.Errorf("name one scenario: %w", errUsage)
			}
			e, err := lab.Find(args[0])
			if err != nil {
				return fmt.Errorf("%w: %w", err, errUsage)
			}
			p, err := k.params(e.Default)
			if err != nil {
				return err
			}
			if t.url != "" {
				return t.run(ctx, &s, out, progress, step{e, p}, *repeat)
			}
			var steps []step
			for _, transport := range strings.Split(*transports, ",") {
				if err := checkTransport(transport); err != nil {
					return err
				}
				p.Transport = transport
				steps = append(steps, step{e, p})
			}
			return s.steps(ctx, out, progress, nil, steps, *repeat)
		}
	},
}

func scenarioList() string {
	var b strings.Builder
	for _, e := range lab.Experiments() {
		fmt.Fprintf(&b, "  %-16s %s\n", e.Name, e.Summary)
	}
	return b.String()
}

// knobs are the flags of an experiment's parameters; what is not set stays as
// the experiment has it.
type knobs struct {
	p   lab.Params
	set map[string]bool
}

func (k *knobs) declare(f *flag.FlagSet) {
	f.IntVar(&k.p.Visitors, "visitors", 0, "how many visitors; default: the scenario's, mostly 2000")
	f.Float64Var(&k.p.Rate, "rate", 0, "stanzas per second into the room, at random times; default: the scenario's")
	f.DurationVar(&k.p.Duration, "duration", 0, "of the measurement; default: the scenario's, mostly 10s")
	f.IntVar(&k.p.Bytes, "bytes", 0, "least size of a stanza; by itself a presence has 1,100 and a line of chat 350")
	f.Float64Var(&k.p.ChatShare, "chat", 0, "part of chat in what is said, 0 to 1; the rest is presence; default 0.25")
	f.IntVar(&k.p.Participants, "participants", 0, "participants in the main room, who speak; default 30")
	f.BoolVar(&k.p.NoAcks, "no-acks", false, "visitors without stream management")
	f.StringVar(&k.p.Profile, "profile", "", "write a CPU profile of the node to this file; its admin listener must offer it")
}

func (k *knobs) params(p lab.Params) (lab.Params, error) {
	for name, take := range map[string]func(){
		"visitors":     func() { p.Visitors = k.p.Visitors },
		"rate":         func() { p.Rate = k.p.Rate },
		"duration":     func() { p.Duration = k.p.Duration },
		"bytes":        func() { p.Bytes = k.p.Bytes },
		"chat":         func() { p.ChatShare = k.p.ChatShare },
		"participants": func() { p.Participants = k.p.Participants },
	} {
		if k.set[name] {
			take()
		}
	}
	p.NoAcks, p.Profile = k.p.NoAcks, k.p.Profile
	switch {
	case p.Visitors < 1, p.Participants < 1:
		return p, fmt.Errorf("-visitors and -participants must be above 0: %w", errUsage)
	case p.Rate < 0, p.Duration < 0, p.Bytes < 0, p.Bytes > maxBytes:
		return p, fmt.Errorf("-rate and -duration must not be below 0, nor -bytes, at the most %d: %w", maxBytes, errUsage)
	case p.ChatShare < 0, p.ChatShare > 1:
		return p, fmt.Errorf("-chat must be between 0 and 1: %w", errUsage)
	}
	return p, nil
}

// maxBytes is less than the largest stanza that Prosody takes from a client.
const maxBytes = 200_000

// targetFlags describe a node that runs.
type targetFlags struct {
	url, domain, prefix, mainDomain, s2s, mainListen, room string
	focus, focusJID, focusPassword                         string
	admin, adminToken                                      string
	pid                                                    int
	insecure                                               bool
	main, mainFocus, mainFocusJID, mainFocusPassword       string
	component                                              string
}

func (t *targetFlags) declare(f *flag.FlagSet) {
	f.StringVar(&t.url, "target", "", "where visitors of a node that runs connect; empty: a node is started")
	f.StringVar(&t.domain, "domain", "v3.meet.jitsi", "the node's domain")
	f.StringVar(&t.prefix, "room-prefix", "conference", "first label of the rooms' domains")
	f.StringVar(&t.room, "room", "bench", "name of the room; it must not exist")
	f.StringVar(&t.mainDomain, "main-domain", "meet.jitsi", "main's domain")
	f.StringVar(&t.s2s, "s2s", "", "host:port where main reaches the node")
	f.StringVar(&t.mainListen, "main-listen", "127.0.0.1:5269", "host:port where the node finds main, which bench plays")
	f.StringVar(&t.focus, "focus", "", "host:port where the focus logs in at the node")
	f.StringVar(&t.focusJID, "focus-jid", "focus@auth.meet.jitsi/focus", "full JID of the focus")
	f.StringVar(&t.focusPassword, "focus-password-file", "", "file with its password")
	f.StringVar(&t.admin, "admin", "", "host:port of the node's admin listener")
	f.StringVar(&t.adminToken, "admin-token-file", "", "file with the node's admin token; one on loopback is looked at without")
	f.IntVar(&t.pid, "pid", 0, "the node's process; 0: whoever listens at -focus, if that is on this machine")
	f.BoolVar(&t.insecure, "insecure", false, "take any certificate")
	f.StringVar(&t.main, "main", "", "WebSocket of a real main Prosody for participants; empty: main is simulated")
	f.StringVar(&t.mainFocus, "main-focus", "", "host:port where the focus logs in at the real main")
	f.StringVar(&t.mainFocusJID, "main-focus-jid", "focus@auth.meet.jitsi/focus", "its full JID there")
	f.StringVar(&t.mainFocusPassword, "main-focus-password-file", "", "file with its password there")
	f.StringVar(&t.component, "main-visitors", "", "the real main's visitors component; default visitors.MAIN-DOMAIN")
}

func (t *targetFlags) run(ctx context.Context, s *settings, out, progress io.Writer, st step, repeat int) (err error) {
	target, transport, err := t.target()
	if err != nil {
		return err
	}
	st.params.Transport = transport
	v, err := s.begin(ctx, out, progress, target)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.close()) }()
	v.lab.Room, v.lab.MainListen = t.room, t.mainListen
	if t.main != "" {
		if v.lab.Conference, err = t.live(); err != nil {
			return err
		}
	}
	v.repeated(ctx, []step{st}, repeat)
	return v.finish(ctx)
}

// target makes of the flags what the lab needs, and names the transport.
func (t *targetFlags) target() (*lab.Target, string, error) {
	scheme, _, _ := strings.Cut(t.url, "://")
	transport, ok := map[string]string{
		"ws": "tcp", "wss": "tcp", "http": "bosh", "https": "bosh", "xmpp": "xmpp", "ws+unix": "unix", "http+unix": "bosh", "xmpp+unix": "xmpp",
	}[scheme]
	switch {
	case !ok:
		return nil, "", fmt.Errorf("-target %q: it begins with none of ws, wss, http, https, xmpp: %w", t.url, errUsage)
	case t.focus == "" || t.focusPassword == "":
		return nil, "", fmt.Errorf("-target needs -focus and -focus-password-file as well: %w", errUsage)
	case t.main == "" && t.s2s == "":
		return nil, "", fmt.Errorf("-target needs -s2s as well, or a real main with -main: %w", errUsage)
	}
	password, err := readSecret(t.focusPassword)
	if err != nil {
		return nil, "", err
	}
	conf := &tls.Config{ServerName: serverName(t.url), InsecureSkipVerify: t.insecure}
	target := &lab.Target{
		URL: func(string) string { return t.url }, Domain: t.domain, Prefix: t.prefix, S2S: t.s2s, Main: t.mainDomain,
		Focus: lab.Focus{Addr: t.focus, JID: t.focusJID, Password: password, TLS: &tls.Config{ServerName: t.domain, InsecureSkipVerify: t.insecure}},
		Admin: lab.Admin{Addr: t.admin}, PID: t.pid, TLS: conf,
	}
	if t.adminToken != "" {
		if target.Admin.Token, err = readSecret(t.adminToken); err != nil {
			return nil, "", err
		}
	}
	if target.PID == 0 {
		target.PID = lab.Listener(t.focus)
	}
	return target, transport, nil
}

func serverName(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

func readSecret(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Errorf("secret: %w", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// live opens conferences at the real main.
func (t *targetFlags) live() (func(context.Context, *conference.Ledger) (conference.Conference, error), error) {
	if t.mainFocus == "" || t.mainFocusPassword == "" {
		return nil, fmt.Errorf("-main needs -main-focus and -main-focus-password-file as well: %w", errUsage)
	}
	password, err := readSecret(t.mainFocusPassword)
	if err != nil {
		return nil, err
	}
	host, _, err := net.SplitHostPort(t.mainFocus)
	if err != nil {
		return nil, fmt.Errorf("-main-focus: %w: %w", err, errUsage)
	}
	component := t.component
	if component == "" {
		component = "visitors." + t.mainDomain
	}
	vnode, _, _ := strings.Cut(t.domain, ".")
	return func(ctx context.Context, l *conference.Ledger) (conference.Conference, error) {
		o := conference.FocusOptions{Addr: t.mainFocus, JID: t.mainFocusJID, Password: password}
		if ip := net.ParseIP(host); ip == nil || !ip.IsLoopback() {
			o.TLS = &tls.Config{ServerName: t.mainDomain, InsecureSkipVerify: t.insecure}
		}
		return conference.NewLive(ctx, conference.LiveOptions{
			URL: t.main, Domain: t.mainDomain, Room: t.room + "@" + t.prefix + "." + t.mainDomain,
			Component: component, VNode: vnode, Focus: o, Ledger: l,
		})
	}, nil
}
