package check

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"vnode/cmd/internal/check/probe"
)

// lookMainAddress is whether something answers where main is said to be.
func (c *checker) lookMainAddress(ctx context.Context) []Finding {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	host, _, err := net.SplitHostPort(c.cfg.MainS2S)
	if err != nil {
		return []Finding{{Level: Fail, What: err.Error(), File: c.files.config, Fix: `main-s2s = "HOST:5269"`}}
	}
	if _, err := netip.ParseAddr(host); err != nil {
		if _, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host); err != nil {
			return []Finding{{Check: "dns", Level: Fail, What: fmt.Sprintf("the name %s has no address: %v", host, err),
				Why: "The node does not find main, and believes nobody to be main by its address.", File: c.files.config,
				Fix: fmt.Sprintf("main-s2s = \"ADDRESS:5269\", or put %s into the DNS or /etc/hosts", host)}}
		}
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.cfg.MainS2S)
	if err != nil {
		f := Finding{Level: Fail, What: fmt.Sprintf("nothing answers on main's s2s port %s: %v", c.cfg.MainS2S, cause(err)),
			Why: "Without server streams no room is connected, and visitors wait for ever.", File: c.files.config,
			Fix: "main-s2s = \"HOST:PORT\" as main's s2s_ports and interfaces have it; or on main: no \"s2s\" in modules_disabled, and the port open in the firewall"}
		if where, file, o := c.files.prosodyOption("", "modules_disabled"); file != nil && o.IsTable() && file.Strings(o)["s2s"] {
			f.File, f.Fix = where, "take \"s2s\" out of modules_disabled, then systemctl restart prosody"
		}
		return []Finding{f}
	}
	conn.Close()
	return []Finding{ok(c.cfg.MainS2S + " answers")}
}

func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

// pair is a stream from a domain of the node to one of main, and what it is
// for.
type pair struct {
	from, to string
	use      string
	level    Level // how bad it is without
}

func (c *checker) pairs() []pair {
	main := c.cfg.MainDomain
	return []pair{
		{c.cfg.Rooms(), main, "participants come and go on it", Fail},
		{c.cfg.Rooms(), c.cfg.MainRooms(), "visitors' chat takes it", Fail},
		{c.cfg.Host(), "visitors." + main, "raised hands take it", Fail},
		{c.cfg.Rooms(), "polls." + main, "visitors' votes take it", Warn},
	}
}

// lookMainStreams is whether main takes the node's streams.
func (c *checker) lookMainStreams(ctx context.Context) []Finding {
	if c.cert.err != nil {
		return []Finding{skipped("without a certificate no stream can be tried", "see certificate")}
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	var found []Finding
	for _, p := range c.pairs() {
		t := probe.Target{Address: c.cfg.MainS2S, Certificate: c.cert.tls}
		s, err := t.Open(ctx, p.from, p.to)
		if err != nil {
			f, again := c.refusedStream(p, err)
			found = append(found, f)
			if !again {
				break // the others would say the same
			}
			continue
		}
		if p.to == c.cfg.MainDomain {
			found = append(found, c.lookMainOffer(s)...)
		}
		s.Close()
		if up, known := c.link(p); known && !up {
			found = append(found, Finding{Level: Fail, What: fmt.Sprintf("main takes a stream from %s to %s, but the running node has none", p.from, p.to),
				Why: "It matters: " + p.use + ".", Fix: fmt.Sprintf("journalctl -u vnode@%s | grep %s tells what the node sees", c.cfg.ID, p.to)})
		}
	}
	return all(found, fmt.Sprintf("main takes the node's streams to %s, %s, visitors and polls", c.cfg.MainDomain, c.cfg.MainRooms()))
}

// link is whether the running node has the stream of a pair; known is false if
// it keeps none such, or does not run.
func (c *checker) link(p pair) (up, known bool) {
	if c.running == nil {
		return false, false
	}
	up, known = c.running.Links[p.from+" -> "+p.to]
	return up, known
}

// lookMainOffer is about main's certificate and about what it offers.
func (c *checker) lookMainOffer(s *probe.Stream) []Finding {
	found := c.dates(s.Certificate(), "main's certificate, /etc/prosody/certs", "main's certificate", "a node with s2s-trust = \"certificate\" refuses main",
		"renew it on main, then systemctl restart prosody")
	for i := range found {
		// A node takes any certificate unless it is told to be strict.
		if c.cfg.S2STrust != "certificate" {
			found[i].Level = Warn
		}
	}
	if !s.Bidi {
		where, _, _ := c.files.prosodyOption("", "modules_enabled")
		found = append(found, Finding{Check: "bidi", Level: Fail, What: "main does not offer bidirectional streams (XEP-0288)",
			Why:  "Main's components cannot dial a node themselves: promotion answers and other nodes' chat come on streams the node opened.",
			File: where, Fix: `"s2s_bidi"; in the general modules_enabled, then systemctl restart prosody`})
	}
	return found
}

// refusedStream explains why main refused a stream. again says whether the next
// pair is worth a try.
func (c *checker) refusedStream(p pair, err error) (f Finding, again bool) {
	f = Finding{Level: p.level, What: fmt.Sprintf("main refuses the stream from %s to %s: %v", p.from, p.to, err), Why: "It matters: " + p.use + "."}
	var stream *probe.StreamError
	var auth *probe.NotAuthenticated
	switch {
	case errors.As(err, &stream) && stream.Condition == "policy-violation":
		f.Check = "whitelist"
		f.File, _, _ = c.files.prosodyOption("", "s2s_whitelist")
		f.Fix = fmt.Sprintf("%q; and \"polls.%s\"; in s2s_whitelist, then systemctl restart prosody", p.from, c.cfg.Host())
		return f, true
	case errors.As(err, &stream) && (stream.Condition == "host-unknown" || stream.Condition == "host-gone"):
		c.unknownDomain(p, &f)
		return f, p.to != c.cfg.MainDomain
	case errors.As(err, &auth) || errors.As(err, &stream) && stream.Condition == "not-authorized":
		f.Check = "main-believes-node"
		f.Why = "Main has to take the node's self-signed certificate. mod_certs_s2soutinjection does that for the domains in s2sout_override."
		has, known := c.files.hasModule("", "certs_s2soutinjection")
		f.File, _, _ = c.files.prosodyOption("", "modules_enabled")
		f.Fix = `"certs_s2soutinjection"; in the general modules_enabled, then systemctl restart prosody`
		if known && has {
			f.File, _, _ = c.files.prosodyOption("", "s2sout_override")
			f.Fix = c.overrideLine(p.from) + " in s2sout_override, then systemctl restart prosody"
		}
		return f, false
	case c.running != nil && allUp(c.running.Links):
		f.Level, f.Fix = Warn, "the running node has its streams; check again"
		return f, false
	}
	f.Fix = "see main-address; main's log (/var/log/prosody/prosody.log) tells its side"
	f.File = c.files.config
	return f, false
}

func allUp(links map[string]bool) bool {
	for _, up := range links {
		if !up {
			return false
		}
	}
	return len(links) > 0
}

// unknownDomain explains a domain that main does not serve.
func (c *checker) unknownDomain(p pair, f *Finding) {
	switch p.to {
	case c.cfg.MainDomain:
		f.Check, f.File = "main-domain", c.files.config
		f.Why = "It is what main calls itself: the VirtualHost with the visitors module."
		f.Fix = `main-domain = "…" as muc_mapper_domain_base in main's configuration`
		if _, file, o := c.files.prosodyOption("", "muc_mapper_domain_base"); file != nil {
			f.Fix = fmt.Sprintf("main-domain = %q", o.Value)
		}
	case c.cfg.MainRooms():
		f.Check, f.File = "room-prefix", c.files.config
		f.Why = "The first label of the rooms' domains is one value on main, in jicofo and here: " + p.use + "."
		other := "conference"
		if c.cfg.RoomPrefix == other {
			other = "muc"
		}
		f.Fix = fmt.Sprintf("room-prefix = %q, if main's rooms are at %s.%s", other, other, c.cfg.MainDomain)
	case "visitors." + c.cfg.MainDomain:
		f.Check, f.File = "visitors-component", c.files.mainHost(c.cfg.MainDomain)
		f.Fix = fmt.Sprintf("Component %q \"visitors_component\" at its end, then systemctl restart prosody; vnode setup does it", p.to)
	default:
		f.Check, f.Fix = "polls-component", fmt.Sprintf("Component %q \"polls_component\", if polls are wanted", p.to)
		f.File = c.files.mainHost(c.cfg.MainDomain)
	}
}

func (c *checker) overrideLine(host string) string {
	port := "PORT"
	if _, p, err := net.SplitHostPort(c.cfg.S2S[0]); err == nil {
		port = p
	}
	address := "ADDRESS-OF-THIS-NODE"
	if host, _, err := net.SplitHostPort(c.cfg.MainS2S); err == nil {
		if a, err := netip.ParseAddr(host); err == nil && a.IsLoopback() {
			address = host
		}
	}
	return fmt.Sprintf("[%q] = \"tcp://%s:%s\";", host, address, port)
}

// lookMainReachesNode is whether main dials the node. It is asked a question on
// a stream that it cannot use itself; its answer needs one of its own.
func (c *checker) lookMainReachesNode(ctx context.Context) []Finding {
	if c.cert.err != nil {
		return []Finding{skipped("without a certificate no stream can be tried", "see certificate")}
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	listen := c.listenAsNode
	if c.running != nil {
		listen = c.watchNode
	}
	w, err := listen(ctx)
	if err != nil {
		return []Finding{skipped(fmt.Sprintf("cannot take the node's place: %v", err), "see ports")}
	}
	defer w.close()
	t := probe.Target{Address: c.cfg.MainS2S, Certificate: c.cert.tls, DialbackSecret: w.secret}
	// A pair that the node does not keep: main has no stream for it yet.
	s, err := t.Open(ctx, c.cfg.Host(), c.cfg.MainDomain)
	var stream *probe.StreamError
	if errors.As(err, &stream) && stream.Condition == "policy-violation" {
		if c.running != nil {
			// The official whitelist has the rooms' domain only, and for that
			// main uses the stream which the node keeps.
			where, _, _ := c.files.prosodyOption("", "s2s_whitelist")
			return []Finding{{Level: Skipped, What: "main's whitelist lacks " + c.cfg.Host() + ", so main cannot be asked to dial a node that runs",
				File: where, Fix: fmt.Sprintf("%q; in s2s_whitelist, or check while the node is stopped", c.cfg.Host())}}
		}
		s, err = t.Open(ctx, c.cfg.Rooms(), c.cfg.MainDomain)
	}
	if err != nil {
		return []Finding{skipped(fmt.Sprintf("main cannot be asked to dial the node: %v", err), "see main-streams")}
	}
	defer s.Close()
	begin := time.Now()
	if err := s.Ask("check-"+rand.Text(), `<ping xmlns='urn:xmpp:ping'/>`); err != nil {
		return []Finding{skipped(fmt.Sprintf("main cannot be asked to dial the node: %v", err), "see main-streams")}
	}
	if err := w.wait(ctx); err != nil {
		return []Finding{c.notReached(s.From)}
	}
	return []Finding{ok(fmt.Sprintf("main answered a ping on a stream of its own after %d ms", time.Since(begin).Milliseconds()))}
}

func (c *checker) notReached(from string) Finding {
	f := Finding{Level: Fail, What: fmt.Sprintf("main was asked to answer %s and did not reach the node within %v", from, c.Timeout),
		Why: "Main opens the stream that tells the node of a conference."}
	where, file, o := c.files.prosodyOption("", "s2sout_override")
	f.File, f.Fix = where, c.overrideLine(from)+" and the same for "+c.cfg.Rooms()+", then systemctl restart prosody; and the port open in the firewall"
	if file != nil && o.Open > 0 && strings.Contains(file.Text[o.Open:o.End], strings.TrimSuffix(c.overrideLine(from), ";")) {
		f.Fix = "the address is right there: open the port in the firewall; Prosody older than 0.12.4 needs Jitsi's patches for s2sout_override"
		if has, known := c.files.hasModule("", "s2sout_override"); known && !has {
			f.File, _, _ = c.files.prosodyOption("", "modules_enabled")
			f.Fix = `"s2sout_override"; in the general modules_enabled, then systemctl restart prosody`
		}
	}
	return f
}
