package node

import (
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/stretchr/testify/require"

	"vnode/cmd/internal/config"
	"vnode/internal/xmpptest/prosody"
	"vnode/visitor/sasl"
	"vnode/visitor/token"
)

// effect is how a reload of one key is seen where it counts.
type effect struct {
	change func(t *testing.T, n *running, c *config.Config)
	// seen reports whether the part that goes by the key goes by the new value;
	// before the reload it must not.
	seen func(t *testing.T, n *running) bool
	// fails is in place of seen where the part can only be heard to object.
	fails string
}

// limit is an effect on the limits of the rooms.
func limit(change func(*config.Config), seen func(*running) bool) effect {
	return effect{
		change: func(_ *testing.T, _ *running, c *config.Config) { change(c) },
		seen:   func(_ *testing.T, n *running) bool { return seen(n) },
	}
}

// objects is an effect on the streams to other servers, told by a value they refuse.
func objects(change func(*config.Config), fails string) effect {
	return effect{change: func(_ *testing.T, _ *running, c *config.Config) { change(c) }, fails: fails}
}

// claims makes the claims of a token that the tests' node takes, changed.
func claims(change func(jwt.MapClaims)) jwt.MapClaims {
	m := jwt.MapClaims{"iss": "jitsi", "aud": "x", "sub": "meet.jitsi", "room": "stage", "exp": time.Now().Add(time.Hour).Unix()}
	change(m)
	return m
}

// takes is an effect on tokens: from now on one with these claims is taken.
func takes(change func(*config.Config), but func(jwt.MapClaims)) effect {
	return effect{
		change: func(_ *testing.T, _ *running, c *config.Config) { change(c) },
		seen: func(t *testing.T, n *running) bool {
			s, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims(but)).SignedString([]byte(tokenSecret))
			require.NoError(t, err)
			return n.takes(s)
		},
	}
}

func (r *running) takes(s string) bool {
	g, err := r.tokens.Verify(token.From(r.t.Context(), netip.Addr{}), s, "")
	return err == nil && g.Covers("stage", "")
}

// takesKey is an effect on where the keys of tokens are from.
func takesKey(change func(t *testing.T, c *config.Config)) effect {
	const fresh = "another secret, of as many bytes"
	return effect{
		change: func(t *testing.T, _ *running, c *config.Config) { change(t, c) },
		seen: func(t *testing.T, n *running) bool {
			s := jwt.NewWithClaims(jwt.SigningMethodHS256, claims(func(jwt.MapClaims) {}))
			s.Header["kid"] = "k"
			text, err := s.SignedString([]byte(fresh))
			require.NoError(t, err)
			return n.takes(text)
		},
	}
}

func effects() map[string]effect {
	rateOf := func(f float64) bool { return f == 7 }
	return map[string]effect{
		"certificate-file": {change: reissue, seen: func(_ *testing.T, n *running) bool {
			return n.cert.Load().Leaf.Issuer.String() != n.cert.Load().Leaf.Subject.String()
		}},
		"key-file": {change: func(t *testing.T, n *running, c *config.Config) {
			reissue(t, n, c)
			c.KeyFile = secretFile(t, "x")
		}, fails: "certificate-file"},
		"s2s-trust":             objects(func(c *config.Config) { c.S2STrust, c.S2SPins = config.TrustCertificate, []string{"xyz"} }, "fingerprint"),
		"s2s-pins":              objects(func(c *config.Config) { c.S2SPins = []string{"xyz"} }, "fingerprint"),
		"s2s-ca-file":           objects(func(c *config.Config) { c.S2SCAFile = "/nowhere" }, "/nowhere"),
		"s2s-trusted-addresses": objects(func(c *config.Config) { c.S2STrustedAddresses = []string{"x"} }, "s2s-trusted-addresses"),
		"main-s2s": {change: func(t *testing.T, n *running, c *config.Config) {
			ln, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			n.simulatedMain(ln)
			c.MainS2S = ln.Addr().String()
		}, seen: func(t *testing.T, n *running) bool {
			deadline := time.Now().Add(time.Duration(len(n.up())) * 10 * time.Second)
			for n.cfg.Load().MainS2S != "127.0.0.1:1" && time.Now().Before(deadline) {
				for _, up := range n.up() {
					if up {
						return true
					}
				}
				time.Sleep(5 * time.Millisecond)
			}
			return false
		}},
		"log-level": limit(func(c *config.Config) { c.LogLevel = "error" }, func(n *running) bool { return n.level.Level() > 4 }),

		"max-visitors-per-room": limit(func(c *config.Config) { c.MaxVisitorsPerRoom = 7 }, func(n *running) bool { return n.rooms.Limits().MaxVisitors == 7 }),
		"max-visitors":          limit(func(c *config.Config) { c.MaxVisitors = 7 }, func(n *running) bool { return n.rooms.Limits().MaxVisitorsOnNode == 7 }),
		"max-rooms":             limit(func(c *config.Config) { c.MaxRooms = 7 }, func(n *running) bool { return n.rooms.Limits().MaxRooms == 7 }),
		"join-rate":             limit(func(c *config.Config) { c.JoinRate = 7 }, func(n *running) bool { return rateOf(n.rooms.Limits().Joins.PerSecond) }),
		"leave-rate":            limit(func(c *config.Config) { c.LeaveRate = 7 }, func(n *running) bool { return rateOf(n.rooms.Limits().Leaves.PerSecond) }),
		"presence-rate":         limit(func(c *config.Config) { c.PresenceRate = 7 }, func(n *running) bool { return rateOf(n.rooms.Limits().Presences.PerSecond) }),
		"presence-burst":        limit(func(c *config.Config) { c.PresenceBurst = 7 }, func(n *running) bool { return n.rooms.Limits().Presences.Burst == 7 }),
		"chat-audience":         limit(func(c *config.Config) { c.ChatAudience = "nobody" }, func(n *running) bool { return n.rooms.Limits().Chat.Audience == "nobody" }),
		"chat-rate":             limit(func(c *config.Config) { c.ChatRate = 7 }, func(n *running) bool { return rateOf(n.rooms.Limits().Chat.Visitor.PerSecond) }),
		"chat-burst":            limit(func(c *config.Config) { c.ChatBurst = 7 }, func(n *running) bool { return n.rooms.Limits().Chat.Visitor.Burst == 7 }),
		"room-chat-rate":        limit(func(c *config.Config) { c.RoomChatRate = 7 }, func(n *running) bool { return rateOf(n.rooms.Limits().Chat.Room.PerSecond) }),
		"room-chat-burst":       limit(func(c *config.Config) { c.RoomChatBurst = 7 }, func(n *running) bool { return n.rooms.Limits().Chat.Room.Burst == 7 }),
		"chat-slow-mode":        limit(func(c *config.Config) { c.ChatSlowMode = 7 }, func(n *running) bool { return n.rooms.Limits().Chat.SlowMode == 7 }),
		"main-rate":             limit(func(c *config.Config) { c.MainRate = 7 }, func(n *running) bool { return rateOf(n.rooms.Limits().Main.PerSecond) }),
		"main-burst":            limit(func(c *config.Config) { c.MainBurst = 7 }, func(n *running) bool { return n.rooms.Limits().Main.Burst == 7 }),

		"drain-timeout":        limit(func(c *config.Config) { c.DrainTimeout = 7 }, func(n *running) bool { return n.cfg.Load().DrainTimeout == 7 }),
		"drain-spread":         limit(func(c *config.Config) { c.DrainSpread = 7 }, func(n *running) bool { return n.spread() == 7 }),
		"other-nodes":          limit(func(c *config.Config) { c.OtherNodes = []string{"a:1"} }, func(n *running) bool { return slices.Equal(n.cfg.Load().OtherNodes, []string{"a:1"}) }),
		"ready-without-jicofo": limit(func(c *config.Config) { c.ReadyWithoutJicofo = !c.ReadyWithoutJicofo }, func(n *running) bool { return !n.cfg.Load().ReadyWithoutJicofo }),
		"accounts-file": {change: func(t *testing.T, _ *running, c *config.Config) {
			account, err := sasl.NewAccount("b", "new", false)
			require.NoError(t, err)
			c.AccountsFile = secretFile(t, account.Line("b@jigasi.example.com")+"\n")
		}, seen: func(_ *testing.T, n *running) bool { return n.plain("jigasi.example.com", "b", "new") == "success" }},

		"token-key-file": takesKey(func(t *testing.T, c *config.Config) {
			c.TokenKeyFile = secretFile(t, "another secret, of as many bytes")
		}),
		"token-keys-url": {change: func(_ *testing.T, _ *running, c *config.Config) {
			c.TokenKeyFile, c.TokenKeysURL = "", "http://127.0.0.1:1/set"
		}, seen: func(_ *testing.T, n *running) bool {
			return strings.HasPrefix(n.keySource.url, "http://127.0.0.1:1/set")
		}},
		"token-key-server": {change: func(_ *testing.T, _ *running, c *config.Config) {
			c.TokenKeyFile, c.TokenKeyServer = "", "http://127.0.0.1:1"
		}, seen: func(_ *testing.T, n *running) bool { return strings.HasSuffix(n.keySource.url, " http://127.0.0.1:1") }},
		"token-algorithms": {change: func(_ *testing.T, _ *running, c *config.Config) { c.TokenAlgorithms = []string{"HS512"} },
			seen: func(t *testing.T, n *running) bool { return !n.takes(signed(t, "stage")) }},
		"token-issuers":       takes(func(c *config.Config) { c.TokenIssuers = []string{"me"} }, func(m jwt.MapClaims) { m["iss"] = "me" }),
		"token-audiences":     takes(func(c *config.Config) { c.TokenAudiences = []string{"y"} }, func(m jwt.MapClaims) { m["aud"] = "y" }),
		"token-optional":      {change: func(_ *testing.T, _ *running, c *config.Config) { c.TokenOptional = true }, seen: func(_ *testing.T, n *running) bool { return n.takes("") }},
		"token-room-optional": takes(func(c *config.Config) { c.TokenRoomOptional = true }, func(m jwt.MapClaims) { delete(m, "room") }),
		"token-any-tenant":    takes(func(c *config.Config) { c.TokenAnyTenant = true }, func(m jwt.MapClaims) { m["sub"] = "elsewhere" }),
		"token-leeway":        takes(func(c *config.Config) { c.TokenLeeway = config.Duration(time.Hour) }, func(m jwt.MapClaims) { m["exp"] = time.Now().Add(-time.Minute).Unix() }),
	}
}

func reissue(t *testing.T, _ *running, c *config.Config) {
	ca, err := prosody.NewCA()
	require.NoError(t, err)
	issued, err := ca.Issue("v3.meet.jitsi", "conference.v3.meet.jitsi")
	require.NoError(t, err)
	c.CertificateFile, c.KeyFile = secretFile(t, string(issued.CertPEM)), secretFile(t, string(issued.KeyPEM))
}

// Each key that a reload may change reaches the part of a running node that goes by
// it. A key without an effect here fails the test.
func TestEveryReloadableKeyTakesEffect(t *testing.T) {
	all := effects()
	for _, key := range config.Reloadable() {
		require.Contains(t, all, key, "tell here how its reload is seen")
	}
	for key, e := range all {
		require.Contains(t, config.Reloadable(), key)
		t.Run(key, func(t *testing.T) {
			cfg := testConfig(t, "127.0.0.1:1")
			withTokens(t, cfg)
			cfg.TokenAudiences = []string{"x"}
			account, err := sasl.NewAccount("a", "one", false)
			require.NoError(t, err)
			cfg.AccountsFile = filepath.Join(t.TempDir(), "accounts")
			require.NoError(t, os.WriteFile(cfg.AccountsFile, []byte(account.Line("a@jigasi.example.com")+"\n"), 0o600))
			node := start(t, cfg)
			next := *cfg
			e.change(t, node, &next)
			if e.fails != "" {
				require.ErrorContains(t, node.Reload(&next), e.fails)
				return
			}
			require.False(t, e.seen(t, node), "already")
			require.NoError(t, node.Reload(&next))
			require.True(t, e.seen(t, node))
		})
	}
}
