package check

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vnode/cmd/internal/config"
	"vnode/cmd/internal/state"
)

// runningNode is what a node says of itself on its admin listener.
type runningNode struct {
	admin string
	Ready bool            `json:"ready"`
	State string          `json:"state"`
	Focus bool            `json:"focus"`
	Links map[string]bool `json:"links"`
}

// askNode asks for the node's health; nil when none answers as one.
func (c *checker) askNode(ctx context.Context) *runningNode {
	if c.cfg.AdminOff() {
		return nil
	}
	resp, err := httpGet(ctx, "http://"+config.Dialable(c.cfg.Admin)+"/healthz")
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	n := &runningNode{admin: config.Dialable(c.cfg.Admin)}
	if resp.StatusCode != http.StatusOK || json.NewDecoder(http.MaxBytesReader(nil, resp.Body, 1<<20)).Decode(n) != nil || n.Links == nil {
		return nil
	}
	return n
}

// httpGet asks once, on a connection that ends with the answer.
func httpGet(ctx context.Context, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Close = true
	return http.DefaultClient.Do(req)
}

// metrics are the node's, by name with labels, as the text format has them.
func (n *runningNode) metrics(ctx context.Context) (map[string]float64, error) {
	resp, err := httpGet(ctx, "http://"+n.admin+"/metrics")
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	all := map[string]float64{}
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, value, found := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); found && err == nil {
			all[name] = v
		}
	}
	return all, lines.Err()
}

// listener is an address of the configuration and its key.
type listener struct{ key, address string }

func (c *checker) listeners() (all []listener) {
	for _, l := range []struct {
		key  string
		list []string
	}{{"s2s", c.cfg.S2S}, {"c2s", c.cfg.C2S}, {"http", c.cfg.HTTP}, {"https", c.cfg.HTTPS}} {
		for _, a := range l.list {
			all = append(all, listener{l.key, a})
		}
	}
	return all
}

// lookNode is whether the node runs with this configuration, or could.
func (c *checker) lookNode(ctx context.Context) []Finding {
	if c.running == nil {
		return c.ports
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	var bad []Finding
	for _, l := range c.listeners() {
		network, address := config.Network(l.address)
		conn, err := (&net.Dialer{}).DialContext(ctx, network, config.Dialable(address))
		if err != nil {
			bad = append(bad, Finding{Level: Fail, What: fmt.Sprintf("a node answers on %s, but nothing listens on its %s address %s", c.running.admin, l.key, l.address),
				Why: "It runs with another configuration than this one.", File: c.files.config,
				Fix: fmt.Sprintf("systemctl restart vnode@%s", c.cfg.ID)})
			continue
		}
		conn.Close()
	}
	if !c.running.Ready {
		bad = append(bad, Finding{Level: Warn, What: "the node is not ready: it is starting, has not reached main, or is being drained", Why: "It takes no new visitors.",
			Fix: "curl http://" + c.running.admin + "/readyz tells why"})
	}
	if _, known := c.running.Links[c.cfg.Rooms()+" -> "+c.cfg.MainDomain]; !known {
		bad = append(bad, Finding{Level: Fail, What: fmt.Sprintf("the node at %s runs with other domains than this configuration: %s", c.running.admin, keys(c.running.Links)),
			Why: "What it was told at its start counts, not the file.", File: c.files.config, Fix: fmt.Sprintf("systemctl restart vnode@%s", c.cfg.ID)})
	}
	return all(bad, fmt.Sprintf("it runs and listens where it should; asked at %s", c.running.admin))
}

func keys(m map[string]bool) string {
	var all []string
	for k := range m {
		all = append(all, k)
	}
	return strings.Join(all, ", ")
}

// lookFreePorts binds each address for a moment.
func (c *checker) lookFreePorts() []Finding {
	var bad []Finding
	listeners := c.listeners()
	if !c.cfg.AdminOff() {
		listeners = append(listeners, listener{"admin", c.cfg.Admin})
	}
	for _, l := range listeners {
		network, address := config.Network(l.address)
		if network == "unix" {
			continue // a stale one is taken over
		}
		ln, err := net.Listen(network, address)
		switch {
		case err == nil:
			ln.Close()
		case errors.Is(err, syscall.EADDRINUSE):
			bad = append(bad, Finding{Check: "ports", Level: Fail, What: fmt.Sprintf("another program listens on %s, the %s address, and it is no node that answers on %s", l.address, l.key, c.cfg.Admin),
				Why: "The node cannot start. Often it is the visitor prosody that it replaces.", File: c.files.config,
				Fix: fmt.Sprintf("stop the other program (ss -ltnp shows it), or choose another address: %s = [\"…\"]", l.key)})
		default:
			bad = append(bad, Finding{Check: "ports", Level: Fail, What: fmt.Sprintf("cannot listen on %s: %v", l.address, errors.Unwrap(err)),
				Why: "The node cannot start.", File: c.files.config, Fix: fmt.Sprintf("%s = [\"…\"] with an address of this machine", l.key)})
		}
	}
	f := Finding{Level: Warn, What: fmt.Sprintf("it does not run: nothing answers as a node on %s", c.cfg.Admin),
		Why: "Its focus login and the public URL can only be tried while it runs.", Fix: fmt.Sprintf("systemctl start vnode@%s, then check again", c.cfg.ID)}
	if len(bad) == 0 {
		f.What += "; its ports are free"
	}
	return append([]Finding{f}, bad...)
}

// lookSecrets is whether the files of secrets are there and private.
func (c *checker) lookSecrets(context.Context) []Finding {
	var bad []Finding
	look := func(key, path, remedy string) {
		if path == "" {
			return
		}
		text, err := os.ReadFile(path)
		info, statErr := os.Stat(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			bad = append(bad, Finding{Level: Fail, What: fmt.Sprintf("%s is %s, which does not exist", key, path), Why: "The node does not start without it.", File: c.files.config, Fix: remedy})
		case err != nil:
			bad = append(bad, Finding{Level: Skipped, What: fmt.Sprintf("%s: %v", key, err), Fix: "run the check as root"})
		case strings.TrimSpace(string(text)) == "":
			bad = append(bad, Finding{Level: Fail, What: fmt.Sprintf("%s, %s, is empty", key, path), Why: "The node does not start without a secret.", File: path, Fix: remedy})
		case statErr == nil && info.Mode().Perm()&0o077 != 0:
			bad = append(bad, Finding{Level: Warn, What: fmt.Sprintf("%s, %s, can be read by others than its owner (mode %04o)", key, path, info.Mode().Perm()),
				Why: "Who knows it can act as jicofo, or use the TURN servers.", File: path, Fix: "chmod 600 " + path})
		}
	}
	look("focus-password-file", c.cfg.FocusPasswordFile, "put the password that jicofo.conf has for this node on its first line")
	look("turn-secret-file", c.cfg.TURNSecretFile, "put the TURN servers' secret (coturn: static-auth-secret) on its first line")
	look("admin-token-file", c.cfg.AdminTokenFile, "put the token that is to be needed for /admin/drain on its first line")
	look("key-file", c.cfg.KeyFile, "name the key of certificate-file: key-file = \"…\"")
	return all(bad, "the files of secrets are there, for their owner alone")
}

// focusPassword is the one jicofo has to use; "" when it cannot be read.
func (c *checker) focusPassword() (password, path string) {
	if c.cfg.FocusPassword != "" {
		return c.cfg.FocusPassword, "the environment"
	}
	path = c.cfg.FocusPasswordFile
	if path == "" {
		dir, err := c.cfg.StateDirectory()
		if err != nil {
			return "", ""
		}
		path = state.Directory(dir).FocusPasswordFile()
	}
	// Why it cannot be read is told by lookSecrets.
	b, _ := os.ReadFile(path)
	return strings.TrimRight(string(b), "\r\n"), path
}

// nodeCertificate is what the node shows to main.
type nodeCertificate struct {
	tls  *tls.Certificate // usable in any case, unless err
	path string
	made bool // by the check, since the node has none yet
	err  error
}

func (c *checker) loadCertificate() nodeCertificate {
	n := nodeCertificate{path: c.cfg.CertificateFile}
	key := c.cfg.KeyFile
	if n.path == "" {
		dir, err := c.cfg.StateDirectory()
		if err != nil {
			return nodeCertificate{err: err}
		}
		n.path, key = state.Directory(dir).CertificateFiles()
	}
	cert, err := tls.LoadX509KeyPair(n.path, key)
	if errors.Is(err, fs.ErrNotExist) && c.cfg.CertificateFile == "" {
		cert, err = state.SelfSigned([]string{c.cfg.Host(), c.cfg.Rooms()}) // such as the node will make at its first start
		n.made = true
	}
	n.tls, n.err = &cert, err
	return n
}

// soonExpired is how long before its end a certificate is worth a word.
const soonExpired = 14 * 24 * time.Hour

func (c *checker) lookCertificate(context.Context) []Finding {
	n := c.cert
	switch {
	case errors.Is(n.err, fs.ErrPermission):
		return []Finding{skipped(n.err.Error(), "run the check as root")}
	case n.err != nil:
		return []Finding{{Level: Fail, What: n.err.Error(), Why: "The node shows it to main and does not start without it.", File: n.path,
			Fix: "put the certificate and its key there, PEM; or leave out certificate-file and key-file, and the node makes its own"}}
	case n.made:
		return []Finding{ok("the node makes its own at its first start")}
	}
	bad := c.dates(n.tls.Leaf, n.path, "the node's certificate", "main may refuse its streams",
		"renew it, then systemctl reload vnode@"+string(c.cfg.ID))
	for _, d := range []string{c.cfg.Host(), c.cfg.Rooms()} {
		if n.tls.Leaf.VerifyHostname(d) != nil {
			bad = append(bad, Finding{Level: Warn, What: fmt.Sprintf("the node's certificate is not for %s", d),
				Why: "Main takes it only where mod_certs_s2soutinjection lets it pass.", File: n.path,
				Fix: fmt.Sprintf("a certificate for %s and %s; or leave out certificate-file and key-file, and the node makes one", c.cfg.Host(), c.cfg.Rooms())})
			break
		}
	}
	return all(bad, fmt.Sprintf("%s is good until %s", n.path, n.tls.Leaf.NotAfter.Format(time.DateOnly)))
}

// dates are findings about when a certificate is valid.
func (c *checker) dates(leaf *x509.Certificate, path, what, why, fix string) []Finding {
	now := c.Now()
	bad := func(l Level, seen string) []Finding {
		return []Finding{{Level: l, What: what + seen, Why: "With it " + why + ".", File: path, Fix: fix}}
	}
	switch {
	case leaf == nil:
		return nil
	case now.After(leaf.NotAfter):
		return bad(Fail, " ended on "+leaf.NotAfter.Format(time.DateOnly))
	case now.Before(leaf.NotBefore):
		return bad(Fail, " begins on "+leaf.NotBefore.Format(time.DateTime)+", which is not yet")
	case now.Add(soonExpired).After(leaf.NotAfter):
		return bad(Warn, " ends on "+leaf.NotAfter.Format(time.DateOnly)+", in less than two weeks")
	}
	return nil
}
