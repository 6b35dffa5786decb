package visitor

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/xdg-go/scram"

	"vnode/internal/wire"
	"vnode/visitor/sasl"
)

// A login over STARTTLS can be bound to that connection. Both sides work the
// binding out for themselves, the client with the SCRAM library's own code.
func TestLoginBoundToTheConnection(t *testing.T) {
	cert := certificate(t)
	for _, c := range []struct {
		name    string
		version uint16
		binding func(*tls.ConnectionState) (scram.ChannelBinding, error)
	}{
		{"TLS 1.3, exporter", tls.VersionTLS13, scram.NewTLSExporterBinding},
		{"TLS 1.3, certificate", tls.VersionTLS13, scram.NewTLSServerEndpointBinding},
		{"TLS 1.2, exporter", tls.VersionTLS12, scram.NewTLSExporterBinding},
		{"TLS 1.2, certificate", tls.VersionTLS12, scram.NewTLSServerEndpointBinding},
	} {
		for name, config := range map[string]*tls.Config{
			"fixed":  {Certificates: []tls.Certificate{cert}},
			"chosen": {GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &cert, nil }},
		} {
			t.Run(c.name+", "+name, func(t *testing.T) {
				inBubble(t, func(cfg *Config) { cfg.TLS = config }, func(t *testing.T, h *house) {
					p := h.tcp(false)
					require.NotContains(t, p.open(testAuth), "PLUS")
					p.play("C: <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "S: <proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
					conn := tls.Client(p.conn, &tls.Config{InsecureSkipVerify: true, MinVersion: c.version, MaxVersion: c.version})
					p.conn, p.tcp = conn, wire.NewReader(conn, wire.Limits{})
					require.Contains(t, p.open(testAuth), `<mechanism>SCRAM-SHA-256-PLUS</mechanism><mechanism>SCRAM-SHA-1-PLUS</mechanism>`+
						`<mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism></mechanisms>`+
						`<sasl-channel-binding xmlns='urn:xmpp:sasl-cb:0'><channel-binding type='tls-exporter'/><channel-binding type='tls-server-end-point'/></sasl-channel-binding>`)
					state := conn.ConnectionState()
					binding, err := c.binding(&state)
					require.NoError(t, err)
					client, err := scram.SHA256.NewClient("focus", testPassword, "")
					require.NoError(t, err)
					conv := client.NewConversationWithChannelBinding(binding)
					first, err := conv.Step("")
					require.NoError(t, err)
					p.send(auth(sasl.SCRAMSHA256Plus, first))
					challenge, err := sasl.Decode(p.expect(`<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{data}</challenge>`), false)
					require.NoError(t, err)
					final, err := conv.Step(string(challenge))
					require.NoError(t, err)
					p.send(response(final))
					p.expect(`<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>{data}</success>`)
					p.restart(testAuth)
					p.send("</stream:stream>")
					p.expect("</stream:stream>")
					p.hangUp()
				})
			})
		}
	}
}

// Jigasi: any name with the shared secret, on every transport; but not where
// somebody may listen.
func TestSharedSecretDomain(t *testing.T) {
	const domain = "jigasi.v3.meet.jitsi"
	acc := testAccount()
	acc.Admin = false
	withDomain := func(c *Config) {
		c.AccountDomains = map[string]sasl.Accounts{domain: sasl.Directory{sasl.Everybody: acc}}
	}
	const offered = `<mechanism>SCRAM-SHA-256</mechanism><mechanism>SCRAM-SHA-1</mechanism><mechanism>PLAIN</mechanism>`
	for name, connect := range map[string]func(h *house) *peer{
		"TCP":              func(h *house) *peer { return h.tcp(true) },
		"secure handshake": func(h *house) *peer { return h.asked(true) },
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, withDomain, func(t *testing.T, h *house) {
				p := connect(h)
				require.Contains(t, p.open(domain), offered)
				p.play("C: "+auth(sasl.Plain, "\x00call-17\x00"+testPassword), "S: "+saslSuccess)
				require.Contains(t, p.restart(domain), "<max-bytes>262144</max-bytes>", "it is no admin")
				p.send(bindIQ)
				require.Contains(t, p.next(), "to='call-17@"+domain+"/")
				p.next()
				p.leave()
			})
		})
	}
	t.Run("in clear", func(t *testing.T) {
		inBubble(t, withDomain, func(t *testing.T, h *house) {
			p := h.asked(false)
			require.NotContains(t, p.open(domain), "mechanism")
			p.play("C: "+auth(sasl.Plain, "\x00call-17\x00"+testPassword), "S: "+failure("encryption-required"))
			p.leave()
			visitor := h.asked(false).visitor() // there is no secret in that
			visitor.leave()
		})
	})
	t.Run("the focus' domain is still for TCP only", func(t *testing.T) {
		inBubble(t, withDomain, func(t *testing.T, h *house) {
			p := h.asked(true)
			p.send(`<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='` + testAuth + `' version='1.0'/>`)
			p.next()
			require.Contains(t, p.next(), "host-unknown")
			p.expectEnd()
		})
	})
}
