package node

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"vnode/cmd/internal/config"
	"vnode/internal/wire"
	"vnode/visitor/sasl"
)

const tokenSecret = "a secret of thirty-two bytes, ok"

func secretFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func withTokens(t *testing.T, c *config.Config) {
	c.TokenKeyFile, c.TokenIssuers = secretFile(t, tokenSecret+"\n"), []string{"jitsi"}
}

func signed(t *testing.T, room string) string { return signedFor(t, "meet.jitsi", room) }

func signedFor(t *testing.T, sub, room string) string {
	t.Helper()
	return signedWith(t, tokenSecret, sub, room)
}

func signedWith(t *testing.T, secret, sub, room string) string {
	t.Helper()
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "jitsi", "aud": "x", "sub": sub, "room": room, "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString([]byte(secret))
	require.NoError(t, err)
	return s
}

// logIn logs in over WebSocket and returns what the login is answered with.
func logIn(t *testing.T, url, domain string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer client.CloseIdleConnections()
	c, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: client, Subprotocols: []string{"xmpp"}})
	require.NoError(t, err)
	defer c.CloseNow()
	say := func(s string) { require.NoError(t, c.Write(ctx, websocket.MessageText, []byte(s))) }
	hear := func() string {
		_, b, err := c.Read(ctx)
		require.NoError(t, err)
		return string(b)
	}
	say(`<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='` + domain + `' version='1.0'/>`)
	if open := hear(); !strings.Contains(open, "from='"+domain+"'") {
		return open + hear()
	}
	hear()
	say(`<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>`)
	return hear()
}

func TestVisitorsNeedTokensWhenKeysAreConfigured(t *testing.T) {
	cfg := testConfig(t, "127.0.0.1:5269")
	withTokens(t, cfg)
	cfg.HTTPS = []string{"127.0.0.1:0"}
	node := start(t, cfg)
	for _, base := range []string{"http://" + node.Addresses().HTTP[0], "https://" + node.Addresses().HTTPS[0]} {
		url := base + "/xmpp-websocket?room=stage&vnode=v3"
		require.Contains(t, logIn(t, url+"&token="+signed(t, "stage"), "v3.meet.jitsi"), "<success")
		require.Equal(t, "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-allowed/><text>a token is required</text></failure>",
			logIn(t, url, "v3.meet.jitsi"))
	}
}

// Two nodes behind a proxy that knows only one.
func TestSiblingsShareAnAddress(t *testing.T) {
	four := testConfig(t, "127.0.0.1:5269")
	four.ID = "v4"
	v4 := start(t, four)
	three := testConfig(t, "127.0.0.1:5269")
	three.Siblings = []string{"v4=" + v4.Addresses().HTTP[0], "v6=unix:" + filepath.Join(t.TempDir(), "nobody")}
	v3 := start(t, three)
	url := "http://" + v3.Addresses().HTTP[0] + "/xmpp-websocket?vnode="
	require.Contains(t, logIn(t, url+"v3", "v3.meet.jitsi"), "<success")
	require.Contains(t, logIn(t, url+"v4", "v4.meet.jitsi"), "<success")
	require.Contains(t, logIn(t, url+"v4", "v3.meet.jitsi"), "host-unknown")
	// The stream's 'to' is enough.
	url = "http://" + v3.Addresses().HTTP[0] + "/xmpp-websocket?room=r"
	require.Contains(t, logIn(t, url, "v4.meet.jitsi"), "<success")
	require.Contains(t, logIn(t, url, "v3.meet.jitsi"), "<success")
	require.Contains(t, logIn(t, url, "v5.meet.jitsi"), "host-unknown")
	require.Contains(t, logIn(t, url, "v6.meet.jitsi"), "resource-constraint")
}

// By BOSH a session's later requests find their node too, by the sid.
func TestSiblingsShareAnAddressByBOSH(t *testing.T) {
	four := testConfig(t, "127.0.0.1:5269")
	four.ID = "v4"
	v4 := start(t, four)
	three := testConfig(t, "127.0.0.1:5269")
	three.Siblings = []string{"v4=" + v4.Addresses().HTTP[0]}
	v3 := start(t, three)
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	ask := func(body string) string {
		r, err := client.Post("http://"+v3.Addresses().HTTP[0]+"/http-bind?room=r", "text/xml", strings.NewReader(body))
		require.NoError(t, err)
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		return string(b)
	}
	for _, domain := range []string{"v3.meet.jitsi", "v4.meet.jitsi"} {
		answer := ask(`<body xmlns='http://jabber.org/protocol/httpbind' rid='7' to='` + domain +
			`' wait='1' hold='1' ver='1.6' xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh'/>`)
		_, rest, ok := strings.Cut(answer, " sid='")
		require.True(t, ok, answer)
		sid, _, _ := strings.Cut(rest, "'")
		require.Contains(t, ask(`<body xmlns='http://jabber.org/protocol/httpbind' rid='8' sid='`+sid+
			`'><auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/></body>`), "<success")
		ask(`<body xmlns='http://jabber.org/protocol/httpbind' rid='9' type='terminate' sid='` + sid + `'/>`)
	}
}

func TestLoginsThatCannotBe(t *testing.T) {
	acc, err := sasl.NewAccount("jigasi", "secret", false)
	require.NoError(t, err)
	for name, tc := range map[string]struct {
		change func(*config.Config)
		want   string
	}{
		"no accounts file":    {func(c *config.Config) { c.AccountsFile = "/nonexistent" }, "accounts-file: open"},
		"bad accounts file":   {func(c *config.Config) { c.AccountsFile = secretFile(t, "x") }, "line 1: not an address"},
		"the visitors' own":   {func(c *config.Config) { c.AccountsFile = secretFile(t, acc.Line("a@v3.meet.jitsi")) }, "is served already"},
		"no key file":         {func(c *config.Config) { c.TokenKeyFile = "/nonexistent" }, "token-key-file: open"},
		"empty key file":      {func(c *config.Config) { c.TokenKeyFile = secretFile(t, "") }, "the key is empty"},
		"unknown algorithm":   {func(c *config.Config) { withTokens(t, c); c.TokenAlgorithms = []string{"none"} }, `token-algorithms: token: algorithm "none"`},
		"taken https port":    {func(c *config.Config) { c.HTTPS = []string{"192.0.2.1:0"} }, "choose another address with -https"},
		"sibling of no place": {func(c *config.Config) { c.Siblings = []string{"v4"} }, "siblings:"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t, "127.0.0.1:5269")
			tc.change(cfg)
			_, err := New(cfg, "test", slog.New(slog.DiscardHandler), new(slog.LevelVar))
			require.ErrorContains(t, err, tc.want)
		})
	}
	cfg := testConfig(t, "127.0.0.1:5269")
	cfg.AccountsFile = secretFile(t, acc.Line("*@jigasi.example.com"))
	node := start(t, cfg)
	require.Contains(t, logIn(t, "http://"+node.Addresses().HTTP[0]+"/xmpp-websocket", "jigasi.example.com"), "invalid-mechanism")
}

// plain logs in with a password over TCP and returns the name of the answer.
func (r *running) plain(domain, user, password string) string {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.Addresses().C2S[0])
	require.NoError(r.t, err)
	defer conn.Close()
	require.NoError(r.t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	p := &person{t: r.t, conn: conn, r: wire.NewReader(conn, wire.Limits{MaxBytes: 1 << 16})}
	header := wire.StreamHeader{Content: wire.NSClient, To: domain, Version: "1.0"}
	p.write(string(header.Append(nil, "")))
	p.expect("stream:features")
	p.write("<auth xmlns='" + wire.NSSASL + "' mechanism='PLAIN'>" +
		base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00"+password)) + "</auth>")
	tok, err := p.r.Next()
	require.NoError(r.t, err)
	h, err := wire.ParseHeader(tok.Data)
	require.NoError(r.t, err)
	return string(h.Name)
}

// A new secret for tokens, and accounts that come and go, take effect with a
// reload; a file with a mistake changes nothing; what cannot change is named.
func TestCredentialsAreReloaded(t *testing.T) {
	const jigasi, jibri = "jigasi.example.com", "jibri.example.com"
	line := func(address, password string) string {
		user, _, _ := strings.Cut(address, "@")
		acc, err := sasl.NewAccount(user, password, false)
		require.NoError(t, err)
		return acc.Line(address) + "\n"
	}
	cfg := testConfig(t, "127.0.0.1:5269")
	withTokens(t, cfg)
	cfg.AccountsFile = secretFile(t, line("a@"+jigasi, "one")+line("b@"+jigasi, "two"))
	var log ear
	node := startLogging(t, cfg, &log)
	with := func(secret string) string {
		url := "http://" + node.Addresses().HTTP[0] + "/xmpp-websocket?room=stage&token=" + signedWith(t, secret, "meet.jitsi", "stage")
		return logIn(t, url, "v3.meet.jitsi")
	}
	require.Contains(t, with(tokenSecret), "<success")
	require.Equal(t, "success", node.plain(jigasi, "a", "one"))
	require.Equal(t, "failure", node.plain(jigasi, "c", "three"))

	const fresh = "another secret, of as many bytes"
	write := func(path, text string) { require.NoError(t, os.WriteFile(path, []byte(text), 0o600)) }
	write(cfg.TokenKeyFile, fresh)
	write(cfg.AccountsFile, line("b@"+jigasi, "new")+line("c@"+jigasi, "three")+line("d@"+jibri, "four"))
	next := *cfg
	next.TokenOptional = true
	require.NoError(t, node.Reload(&next))
	require.Contains(t, with(fresh), "<success")
	require.Contains(t, with(tokenSecret), "signature is wrong")
	require.Contains(t, logIn(t, "http://"+node.Addresses().HTTP[0]+"/xmpp-websocket", "v3.meet.jitsi"), "<success", "now optional")
	require.Equal(t, "failure", node.plain(jigasi, "a", "one"))
	require.Equal(t, "failure", node.plain(jigasi, "b", "two"))
	require.Equal(t, "success", node.plain(jigasi, "b", "new"))
	require.Equal(t, "success", node.plain(jigasi, "c", "three"))
	require.Contains(t, log.String(), `msg="accounts read again" domain=jigasi.example.com added=1 removed=1 changed=1`)
	require.Contains(t, log.String(), `msg="a restart is needed for a new domain in accounts-file" domain=jibri.example.com`)
	require.Contains(t, log.String(), `msg="configuration reloaded" changed=[token-optional]`)

	write(cfg.AccountsFile, "x")
	write(cfg.TokenKeyFile, tokenSecret)
	require.ErrorContains(t, node.Reload(&next), "accounts-file")
	require.Equal(t, "success", node.plain(jigasi, "c", "three"))
	require.Contains(t, with(fresh), "<success", "nothing has changed")

	off := next
	off.AccountsFile, off.TokenKeyFile, off.TokenOptional = "", "", false
	require.NoError(t, node.Reload(&off))
	require.Equal(t, "failure", node.plain(jigasi, "c", "three"), "nobody is left")
	require.Contains(t, with(fresh), "<success", "tokens go on to be looked at")
	require.Contains(t, log.String(), `msg="a restart is needed for some changes" keys="[token-key-file token-optional]"`)
}
