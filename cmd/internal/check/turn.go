package check

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"vnode/cmd/internal/check/probe"
	"vnode/cmd/internal/config"
)

// lookTURN asks each STUN and TURN server as a visitor's browser would.
func (c *checker) lookTURN(ctx context.Context) []Finding {
	services, err := c.cfg.ExternalServices()
	if err != nil {
		return []Finding{{Level: Fail, What: err.Error(), File: c.files.config, Fix: "turn-services = [\"turn:HOST:3478?transport=udp\"]"}}
	}
	if len(services) == 0 {
		return []Finding{skipped("no STUN or TURN servers are configured", "turn-services and turn-secret-file, if visitors behind strict firewalls are to get media")}
	}
	// That it cannot be read is told by lookSecrets.
	text, _ := os.ReadFile(c.cfg.TURNSecretFile)
	secret := strings.TrimRight(string(text), "\r\n")
	if c.cfg.TURNSecret != "" {
		secret = c.cfg.TURNSecret // of the environment
	}
	var bad []Finding
	if secret == "" && c.cfg.TURNSecretFile == "" && wantsSecret(services) {
		bad = append(bad, Finding{Level: Warn, What: "there are TURN servers, but no secret for them", Why: "Visitors get no credentials and no relay.", File: c.files.config,
			Fix: "turn-secret-file = \"…\", a file with external_service_secret of main, which is static-auth-secret of coturn"})
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	for _, s := range services {
		if f := c.askTURN(ctx, s, secret); f.Level != OK {
			bad = append(bad, f)
		}
	}
	return all(bad, fmt.Sprintf("%d servers answer, and take the secret", len(services)))
}

func wantsSecret(services []config.ExternalService) bool {
	for _, s := range services {
		if strings.HasPrefix(s.Type, "turn") {
			return true
		}
	}
	return false
}

func (c *checker) askTURN(ctx context.Context, s config.ExternalService, secret string) Finding {
	port := s.Port
	if port == 0 {
		port = 3478
		if strings.HasSuffix(s.Type, "s") {
			port = 5349
		}
	}
	server := probe.TURNServer{Address: net.JoinHostPort(s.Host, strconv.Itoa(port)), TCP: s.Transport == "tcp"}
	if strings.HasSuffix(s.Type, "s") {
		server.TLS = &tls.Config{ServerName: s.Host, RootCAs: c.Roots, MinVersion: tls.VersionTLS12}
	}
	name := fmt.Sprintf("%s:%s", s.Type, server.Address)
	var err error
	if strings.HasPrefix(s.Type, "turn") && secret != "" {
		err = server.Allocate(ctx, secret)
	} else {
		err = server.Bind(ctx)
	}
	f := Finding{Level: Warn, What: fmt.Sprintf("%s: %v", name, err), Why: "Visitors behind strict firewalls get no media through it."}
	var refused *probe.TURNError
	var dns *net.DNSError
	switch {
	case err == nil:
		return ok(name)
	case errors.As(err, &refused) && (refused.Code == 401 || refused.Code == 400):
		f.Level, f.File = Fail, c.cfg.TURNSecretFile
		f.What = fmt.Sprintf("%s refuses credentials made of the secret: %v", name, err)
		f.Fix = "the same secret as static-auth-secret in /etc/turnserver.conf, then systemctl restart vnode@" + string(c.cfg.ID)
	case errors.As(err, &dns):
		f.File, f.Fix = c.files.config, fmt.Sprintf("%q in turn-services with a name that is in the DNS", name)
	default:
		f.File, f.Fix = c.files.config, "turn-services without it; or start it, and open its port in the firewall"
	}
	return f
}
