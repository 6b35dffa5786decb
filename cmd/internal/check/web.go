package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"vnode/cmd/internal/check/probe"
	"vnode/cmd/internal/config"
)

// lookWebSocket visits the public URL as a browser does, and looks at the
// clocks on the way.
func (c *checker) lookWebSocket(ctx context.Context) []Finding {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	u, err := url.Parse(c.URL)
	if err != nil || u.Host == "" {
		return []Finding{{Level: Fail, What: fmt.Sprintf("%q is not a URL such as wss://meet.example.com/xmpp-websocket", c.URL), Fix: "-url wss://HOST/xmpp-websocket"}}
	}
	q := u.Query()
	q.Set("room", "vnode-check")
	q.Set("vnode", string(c.cfg.ID))
	u.RawQuery = q.Encode()
	web := probe.Web{TLS: &tls.Config{RootCAs: c.Roots, MinVersion: tls.VersionTLS12}, Dial: c.Dial}
	sent := c.Now()
	a, err := web.Visit(ctx, u.String(), c.cfg.Host())
	found := c.lookClock(a, sent)
	if a.TLS != nil && len(a.TLS.PeerCertificates) > 0 {
		found = append(found, c.dates(a.TLS.PeerCertificates[0], c.files.webSite()+", ssl_certificate", "the certificate of "+u.Hostname(),
			"no browser opens the page", "renew it, then systemctl reload nginx")...)
	}
	if err == nil {
		return append(found, ok(fmt.Sprintf("a visitor gets through %s to %s and can log in", u, a.From)))
	}
	if a.From == c.cfg.Host() && a.Error == "" && c.wantsTokens() {
		return append(found, ok(fmt.Sprintf("a visitor gets through %s to %s, which wants a token", u, a.From)))
	}
	return append(found, c.noVisit(u, a, err))
}

// wantsTokens reports whether a visitor without a token may not log in.
func (c *checker) wantsTokens() bool {
	return !c.cfg.TokenOptional && (c.cfg.TokenKeyFile != "" || c.cfg.TokenKeysURL != "" || c.cfg.TokenKeyServer != "")
}

// maxSkew is how far clocks may differ: certificates and tokens of a minute's
// life still work, and logs can be compared.
const maxSkew = 10 * time.Second

// lookClock compares with the web server's clock, which is told to a second.
func (c *checker) lookClock(a probe.WebAnswer, sent time.Time) []Finding {
	if a.Date.IsZero() {
		return nil
	}
	skew := a.Date.Sub(sent.Truncate(time.Second))
	if skew.Abs() <= maxSkew {
		return []Finding{{Check: "clock", Level: OK, What: fmt.Sprintf("it differs from the web server's by less than %v", maxSkew)}}
	}
	return []Finding{{Check: "clock", Level: Fail, What: fmt.Sprintf("this machine's clock and the web server's differ by %v", skew.Round(time.Second)),
		Why:  "Certificates and TURN credentials count as expired or not yet valid, and chat is shown at the wrong time.",
		File: "/etc/systemd/timesyncd.conf, on whichever machine is wrong", Fix: "timedatectl set-ntp true; timedatectl timesync-status tells whether it works"}}
}

// noVisit explains why the public URL leads nowhere.
func (c *checker) noVisit(u *url.URL, a probe.WebAnswer, err error) Finding {
	f := Finding{Level: Fail, What: fmt.Sprintf("%s: %v", u, err), Why: "Visitors' browsers take this way.", File: c.files.webSite()}
	id := string(c.cfg.ID)
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var dns *net.DNSError
	switch {
	case errors.As(err, &invalid) || errors.As(err, &name) || errors.As(err, &unknown):
		f.Check = "public-certificate"
		f.Why = "No browser opens the page."
		f.Fix = "ssl_certificate with a valid certificate for " + u.Hostname() + ", then systemctl reload nginx"
	case errors.As(err, &dns):
		f.Check, f.File = "dns", "the DNS"
		f.Fix = fmt.Sprintf("an A record for %s; or name the public URL with -url", u.Hostname())
	case a.Error == "host-unknown" || a.From != "" && a.From != c.cfg.Host():
		f.Check = "nginx-map"
		f.What = fmt.Sprintf("%s leads to another server, which does not know %s", u, c.cfg.Host())
		if at := c.files.nginxMap(); at != "" {
			f.File = at
		}
		f.Fix = fmt.Sprintf("%s %s; in the map of $arg_vnode, and proxy_pass http://$prosody_node/… in the locations; then systemctl reload nginx", id, id)
	case a.Status == http.StatusBadGateway || a.Status == http.StatusGatewayTimeout || a.Status == http.StatusInternalServerError:
		c.noUpstream(&f, a.Status)
	case a.Status == http.StatusNotFound || a.Status == http.StatusOK && a.Page || a.Status == http.StatusMovedPermanently || a.Status == http.StatusFound:
		f.Check = "nginx-location"
		f.What = fmt.Sprintf("%s is no WebSocket: nginx answers %d", u, a.Status)
		f.Fix = "location = " + u.Path + " { proxy_pass http://$prosody_node/xmpp-websocket?prefix=$prefix&$args; … } as vnode setup writes it into pieces/nginx-locations.conf"
	case a.Status == http.StatusOK || a.Status == http.StatusBadRequest || a.Status == http.StatusUpgradeRequired || a.Status == http.StatusMethodNotAllowed:
		f.Check = "nginx-upgrade"
		f.What = fmt.Sprintf("the node was reached by %s, but not as a WebSocket: %d", u, a.Status)
		f.Fix = `proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; in the location of xmpp-websocket`
	case a.Status == 0 && c.running == nil:
		f.Fix = "start nginx (systemctl status nginx) and the node; or name the public URL with -url"
	case a.Status == 0:
		f.Fix = "systemctl status nginx; or name the public URL with -url"
	default:
		f.Fix = fmt.Sprintf("journalctl -u vnode@%s tells the node's side, nginx' error.log the other", id)
	}
	if c.running == nil && a.Status == http.StatusBadGateway {
		return Finding{Level: Skipped, What: "nginx finds no server for ?vnode=" + id + ": the node does not run", Fix: fmt.Sprintf("systemctl start vnode@%s, then check again", id)}
	}
	return f
}

// noUpstream explains a 502: nginx knows the node by name, and nothing answers
// there.
func (c *checker) noUpstream(f *Finding, status int) {
	id := string(c.cfg.ID)
	f.Check = "nginx-upstream"
	f.What = fmt.Sprintf("nginx answers %d: it finds nothing where its upstream %s is", status, id)
	address := c.cfg.HTTP[0]
	if network, path := config.Network(address); network == "unix" {
		address = "unix:" + path
	} else {
		address = config.Dialable(address)
	}
	f.Fix = fmt.Sprintf("upstream %s { server %s; }, then systemctl reload nginx", id, address)
	at := c.files.nginxUpstream(id)
	if at != "" {
		f.File = at
	} else if c.files.site != "" {
		f.File = strings.TrimSpace(c.files.root+"etc/nginx/conf.d") + ", where no upstream " + id + " is"
	}
}
