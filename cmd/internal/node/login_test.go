package node

import (
	"context"
	"crypto/tls"
	"io"
	"log/slog"
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
	s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"iss": "jitsi", "aud": "x", "sub": sub, "room": room, "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString([]byte(tokenSecret))
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
