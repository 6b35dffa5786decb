package check

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"

	"vnode/cmd/internal/check/probe"
	"vnode/cmd/internal/config"
)

// lookFocus logs in as jicofo would, beside a jicofo that is logged in.
func (c *checker) lookFocus(ctx context.Context) []Finding {
	password, path := c.focusPassword()
	if password == "" {
		return []Finding{skipped(fmt.Sprintf("the focus password in %q cannot be read", path), "run the check as root, and see secrets")}
	}
	if c.running == nil {
		return []Finding{skipped("the node does not run", fmt.Sprintf("systemctl start vnode@%s, then check again", c.cfg.ID))}
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	o := c.focusAccount(password)
	err := o.LogIn(ctx)
	if err != nil && c.running.State == "drained" {
		return []Finding{{Level: Warn, What: "the node is drained and lets no jicofo log in", Why: "No conference can begin here.", File: c.files.config,
			Fix: "call the drain off: DELETE /admin/drain"}}
	}
	if err != nil {
		f := Finding{Level: Fail, What: fmt.Sprintf("focus@%s cannot log in on %s: %v", c.cfg.AuthDomain, o.Address, err),
			Why: "Without jicofo no room is opened, and visitors cannot join.", File: path,
			Fix: fmt.Sprintf("systemctl restart vnode@%s, if the password was changed after its start", c.cfg.ID)}
		if strings.Contains(err.Error(), "host-unknown") {
			f.File, f.Fix = c.files.config, "auth-domain as the node was started with, or restart the node"
		}
		return []Finding{f}
	}
	return []Finding{ok(fmt.Sprintf("focus@%s can log in on %s with the password in %s", c.cfg.AuthDomain, o.Address, path))}
}

// focusAccount is the account of jicofo. The node wants STARTTLS on a listener that
// others than this machine reach, also from this machine.
func (c *checker) focusAccount(password string) probe.Account {
	listener := c.cfg.C2S[0]
	a := probe.Account{Address: config.Dialable(listener), User: "focus", Domain: c.cfg.AuthDomain, Password: password,
		// Not jicofo's own resource: that would end its stream.
		Resource: "check-" + rand.Text()[:8]}
	host, _, err := net.SplitHostPort(listener)
	if err != nil {
		return a // it cannot be dialed either
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
		// Jicofo's disable-certificate-verification.
		a.TLS = &tls.Config{InsecureSkipVerify: true, ServerName: c.cfg.AuthDomain}
	}
	return a
}

// lookJicofo compares jicofo.conf with the node, where both are here and hocon
// can read it.
func (c *checker) lookJicofo(ctx context.Context) []Finding {
	manual := fmt.Sprintf("compare jicofo.xmpp.visitors.%s with what vnode setup wrote into pieces/jicofo.conf", c.cfg.ID)
	if c.files.jicofo == "" {
		return []Finding{skipped("jicofo.conf is not on this machine", manual)}
	}
	program, err := exec.LookPath("hocon")
	if err != nil {
		return []Finding{skipped("jicofo.conf cannot be read without the hocon program", "apt-get install ruby-hocon; or "+manual)}
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	jicofo, err := readJicofo(ctx, program, c.files.jicofo)
	if err != nil {
		return []Finding{{Level: Fail, What: err.Error(), Why: "Jicofo does not start with a file that does not parse.", File: c.files.jicofo, Fix: "correct what hocon complains of"}}
	}
	return c.compareJicofo(jicofo)
}

// readJicofo is the object jicofo, with what the file that set-up includes puts
// over it.
func readJicofo(ctx context.Context, program, path string) (map[string]any, error) {
	merged := map[string]any{}
	included := strings.TrimSuffix(path, "jicofo.conf") + "vnode.conf"
	for _, file := range []string{path, included} {
		out, err := exec.CommandContext(ctx, program, "-f", file, "--json", "get", "jicofo").Output()
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			if file == included {
				break // there is none
			}
			first, _, _ := strings.Cut(strings.TrimSpace(string(exit.Stderr)), "\n")
			return nil, fmt.Errorf("hocon cannot read %s: %s", file, first)
		}
		if err != nil {
			return nil, err
		}
		var one map[string]any
		if err := json.Unmarshal(out, &one); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		merge(merged, one)
	}
	return merged, nil
}

func merge(into, from map[string]any) {
	for k, v := range from {
		a, isObject := into[k].(map[string]any)
		b, both := v.(map[string]any)
		if isObject && both {
			merge(a, b)
			continue
		}
		into[k] = v
	}
}

func object(m map[string]any, path ...string) map[string]any {
	for _, key := range path {
		m, _ = m[key].(map[string]any) // nil reads as empty
	}
	return m
}

func (c *checker) compareJicofo(jicofo map[string]any) []Finding {
	id := string(c.cfg.ID)
	at := "jicofo.xmpp.visitors." + id
	visitor := object(jicofo, "xmpp", "visitors", id)
	if visitor == nil {
		return []Finding{{Level: Fail, What: at + " is missing", Why: "Jicofo does not know the node and sends it no visitors.", File: c.files.jicofo,
			Fix: "vnode setup -add " + strings.TrimPrefix(id, "v") + ", then systemctl restart jicofo"}}
	}
	var bad []Finding
	wrong := func(key, fix, why string) {
		bad = append(bad, Finding{Level: Fail, What: fmt.Sprintf("%s.%s does not fit the node", at, key), Why: why, File: c.files.jicofo,
			Fix: key + " = " + fix + ", then systemctl restart jicofo"})
	}
	is := func(key string) string { return fmt.Sprint(visitor[key]) }
	if is("enabled") == "false" {
		wrong("enabled", "true", "Jicofo does not use the node.")
	}
	if want := c.cfg.Host(); is("xmpp-domain") != want {
		wrong("xmpp-domain", want, "Jicofo makes the rooms' addresses from it.")
	}
	if want := c.cfg.Rooms(); is("conference-service") != want {
		wrong("conference-service", want, "Jicofo opens rooms there; the first label is the room prefix.")
	}
	if want := c.cfg.AuthDomain; is("domain") != want {
		wrong("domain", want, "Jicofo logs in at this domain.")
	}
	if _, port, err := net.SplitHostPort(c.cfg.C2S[0]); err == nil && port != "0" && is("port") != port {
		wrong("port", port, "Jicofo does not find the node's client port.")
	}
	if password, path := c.focusPassword(); password != "" && is("password") != password {
		wrong("password", "the one in "+path, "Jicofo cannot log in at the node.")
	}
	if object(jicofo, "visitors")["enabled"] != true {
		bad = append(bad, Finding{Level: Fail, What: "jicofo.visitors.enabled is not true", Why: "Jicofo makes nobody a visitor.", File: c.files.jicofo,
			Fix: "jicofo.visitors.enabled = true, then systemctl restart jicofo"})
	}
	return all(bad, at+" fits the node")
}
