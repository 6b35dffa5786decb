package config

import (
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Nothing that docker-jitsi-meet can be told is ignored by oversight: each of its
// variables, as of the date in the file's name, is in the table.
func TestEveryVariableOfDockerIsKnown(t *testing.T) {
	b, err := os.ReadFile("testdata/docker-jitsi-meet-2026-08-20.txt")
	require.NoError(t, err)
	theirs := strings.Fields(string(b))
	for _, name := range theirs {
		require.Contains(t, dockerVariables, name, "say what becomes of it")
	}
	for name, v := range dockerVariables {
		if v.treatment != honoured {
			require.NotEmpty(t, v.why, name)
		}
		if name == "XMPP_AUTH_DOMAIN" || name == "XMPP_RECORDER_DOMAIN" {
			continue // older names that its scripts still take
		}
		require.Contains(t, theirs, name, "there is no such variable any more")
	}
	require.Greater(t, len(slices.Collect(maps.Keys(dockerVariables))), 150)
}

func warningsOf(t *testing.T, env map[string]string) map[string]string {
	t.Helper()
	c, err := load(t, env)
	require.NoError(t, err)
	said := map[string]string{}
	for _, w := range c.Warnings {
		said[w.Name] = w.Text
	}
	return said
}

// What is not honoured is named. The defaults that a compose file passes on, empty
// texts among them, say nothing.
func TestWhatIsNotHonouredIsNamed(t *testing.T) {
	base := map[string]string{"PROSODY_MODE": "visitors", "JICOFO_AUTH_PASSWORD": "x"}
	with := func(name, value string) map[string]string {
		env := maps.Clone(base)
		env[name] = value
		return env
	}
	for _, set := range [][2]string{
		{"PROSODY_ENABLE_METRICS", "true"}, {"DISABLE_POLLS", "1"}, {"PROSODY_ENABLE_RATE_LIMITS", "1"},
		{"PROSODY_RATE_LIMIT_LOGIN_RATE", "3"}, {"XMPP_MODULES", "mine"}, {"GLOBAL_CONFIG", "x = 1"}, {"PROSODY_S2S_LIMIT", "1kb/s"},
		{"ENABLE_XMPP_WEBSOCKET", "0"}, {"ENABLE_SUBDOMAINS", "false"}, {"PROSODY_LOG_CONFIG", "x"},
	} {
		require.Contains(t, warningsOf(t, with(set[0], set[1])), set[0])
	}
	for _, set := range [][2]string{
		{"PROSODY_ENABLE_METRICS", "0"}, {"DISABLE_POLLS", ""}, {"DISABLE_POLLS", "false"}, {"ENABLE_XMPP_WEBSOCKET", "1"},
		{"ENABLE_SUBDOMAINS", ""}, {"JWT_APP_ID", "x"}, {"GC_TYPE", "generational"}, {"LDAP_URL", "ldap://x"},
	} {
		require.Empty(t, warningsOf(t, with(set[0], set[1])), set[0])
	}
	require.Empty(t, warningsOf(t, map[string]string{"DISABLE_POLLS": "1", "GLOBAL_CONFIG": "x"}), "another program's")
}

func TestProxiesOfTheContainerAreTrusted(t *testing.T) {
	for text, want := range map[string][]string{
		"172.18.0.4":                   {"172.18.0.4"},
		"127.0.0.1,::1, 10.0.0.0/8":    {"127.0.0.1", "::1", "10.0.0.0/8"},
		"2001:db8::/32,192.168.0.0/16": {"2001:db8::/32", "192.168.0.0/16"},
	} {
		c, err := load(t, map[string]string{"PROSODY_MODE": "visitors", "PROSODY_TRUSTED_PROXIES": text})
		require.NoError(t, err)
		require.Equal(t, want, c.TrustedProxies)
	}
	_, err := load(t, map[string]string{"PROSODY_MODE": "visitors", "PROSODY_TRUSTED_PROXIES": "nginx"})
	require.ErrorContains(t, err, "PROSODY_TRUSTED_PROXIES")
}

func TestCredentialsForTURN(t *testing.T) {
	env := map[string]string{"PROSODY_MODE": "visitors", "JICOFO_AUTH_PASSWORD": "x", "TURN_HOST": "turn.example"}
	require.Contains(t, warningsOf(t, env)["turn-services"], "no credentials")
	env["TURN_USERNAME"], env["TURN_PASSWORD"], env["TURN_TTL"] = "ann", "s3cret", "3600"
	c, err := load(t, env)
	require.NoError(t, err)
	require.Empty(t, c.Warnings)
	require.Equal(t, "ann", c.TURNUsername)
	require.Equal(t, "s3cret", c.TURNPassword)
	require.Equal(t, Duration(time.Hour), c.TURNTTL)
	for name, value := range map[string]string{"TURN_TTL": "a day", "TURN_USERNAME": "", "TURN_PASSWORD": ""} {
		bad := maps.Clone(env)
		bad[name] = value
		_, err := load(t, bad)
		require.ErrorContains(t, err, name)
	}
	env["TURN_TTL"] = "5"
	_, err = load(t, env)
	require.ErrorContains(t, err, "TURN_TTL (turn-ttl): 5s is not a number of whole seconds, 60 or more")
	require.Empty(t, warningsOf(t, map[string]string{"PROSODY_MODE": "visitors", "JICOFO_AUTH_PASSWORD": "x", "STUN_HOST": "stun.example"}))
}

// Addresses as people and Kubernetes write them.
func TestAddressesThatPeopleHave(t *testing.T) {
	for server, want := range map[string]string{
		"10.0.0.5": "10.0.0.5:5269", "10.0.0.5:5270": "10.0.0.5:5270", "xmpp.meet.jitsi": "xmpp.meet.jitsi:5269",
		"2001:db8::5": "[2001:db8::5]:5269", "[2001:db8::5]": "[2001:db8::5]:5269", "[2001:db8::5]:5270": "[2001:db8::5]:5270",
		"tcp://10.0.0.5:5270": "10.0.0.5:5270", "::1": "[::1]:5269", "tcp://10.0.0.5:5270/": "10.0.0.5:5270", "tcp://[2001:db8::5]:5270": "[2001:db8::5]:5270",
		" xmpp.meet.jitsi\t": "xmpp.meet.jitsi:5269", "tcp://xmpp.meet.jitsi": "xmpp.meet.jitsi:5269", "xmpp.meet.jitsi:5270": "xmpp.meet.jitsi:5270",
	} {
		c, err := load(t, map[string]string{"XMPP_DOMAIN": "meet.jitsi", "XMPP_SERVER": server})
		require.NoError(t, err, server)
		require.Equal(t, want, c.MainS2S, server)
	}
	for _, server := range []string{"https://10.0.0.5", "a b", "10.0.0.5:port", "[2001:db8::5", "host/path", "x@y", "a,b", "udp://10.0.0.5:5269", ":5269", "10.0.0.5:", "10.0.0.5:0", "xmpp://10.0.0.5", "[10.0.0.5"} {
		_, err := load(t, map[string]string{"XMPP_DOMAIN": "meet.jitsi", "XMPP_SERVER": server})
		require.ErrorContains(t, err, "XMPP_SERVER: ", server)
	}
	for name, key := range map[string]func(*Config) string{
		"XMPP_PORT": func(c *Config) string { return c.C2S[0] }, "PROSODY_HTTP_PORT": func(c *Config) string { return c.HTTP[0] },
		"PROSODY_S2S_PORT": func(c *Config) string { return c.S2S[0] },
	} {
		for _, v := range []string{"tcp://10.0.0.1:5222", "tcp://[2001:db8::1]:5222", "5222"} {
			c, err := load(t, map[string]string{"PROSODY_MODE": "visitors", name: v})
			require.NoError(t, err, name)
			require.Equal(t, ":5222", key(c), name)
		}
		for _, v := range []string{"tcp://10.0.0.1", "udp://10.0.0.1:5222", "0", "70000", "5222/tcp"} {
			_, err := load(t, map[string]string{"PROSODY_MODE": "visitors", name: v})
			require.ErrorContains(t, err, name+": ", v)
		}
	}
	for host, want := range map[string]string{
		"turn.example": "turn:turn.example:443?transport=tcp", "turn:turn.example": "turn:turn.example:443?transport=tcp",
		"turn.example:3478": "turn:turn.example:3478?transport=tcp", "2001:db8::7": "turn:[2001:db8::7]:443?transport=tcp",
		"[2001:db8::7]:3478": "turn:[2001:db8::7]:3478?transport=tcp", "turn:[2001:db8::7]": "turn:[2001:db8::7]:443?transport=tcp",
		"turn://x": "turn:x:443?transport=tcp", "turn:x?transport=udp": "turn:x:443?transport=udp", "turn:x:3478?transport=udp": "turn:x:3478?transport=udp",
		"turns:x:5349": "turns:x:5349?transport=tcp", "udp://10.0.0.1:3478": "turn:10.0.0.1:3478?transport=tcp", " x ": "turn:x:443?transport=tcp",
	} {
		c, err := load(t, map[string]string{"PROSODY_MODE": "visitors", "TURN_HOST": host, "TURN_CREDENTIALS": "s"})
		require.NoError(t, err, host)
		require.Equal(t, []string{want}, c.TURNServices, host)
	}
	for port, want := range map[string]string{"udp://10.0.0.1:3478": "3478", "tcp://10.0.0.1:3478": "3478", "3478": "3478"} {
		c, err := load(t, map[string]string{"PROSODY_MODE": "visitors", "TURN_HOST": "x", "TURN_PORT": port, "TURN_TRANSPORT": "UDP"})
		require.NoError(t, err, port)
		require.Equal(t, []string{"turn:x:" + want + "?transport=udp"}, c.TURNServices)
	}
	for _, host := range []string{"http://x", "turn:", "x:y", "turn:x/y", "a b"} {
		_, err := load(t, map[string]string{"PROSODY_MODE": "visitors", "TURN_HOST": host})
		require.ErrorContains(t, err, "TURN_HOST: ", host)
	}
	c, err := load(t, map[string]string{"PROSODY_MODE": "visitors", "ENABLE_IPV6": "false"})
	require.NoError(t, err)
	require.Equal(t, []string{"0.0.0.0:5280"}, c.HTTP)
}

func TestRefusedByTheirOwnNames(t *testing.T) {
	for want, env := range map[string]map[string]string{
		`XMPP_MUC_DOMAIN: "muc.other.example" is not below XMPP_DOMAIN "main.example"`: {"XMPP_DOMAIN": "main.example", "XMPP_MUC_DOMAIN": "muc.other.example"},
		`XMPP_MUC_DOMAIN: "muc" is not below`:                                          {"XMPP_MUC_DOMAIN": "muc"},
		"JICOFO_AUTH_PASSWORD is empty":                                                {"JICOFO_AUTH_PASSWORD": ""},
		"VISITORS_XMPP_DOMAIN: ":                                                       {"VISITORS_XMPP_DOMAIN": "visitors.example"},
		`PROSODY_VISITORS_MUC_PREFIX (room-prefix): "a.b" is not`:                      {"PROSODY_VISITORS_MUC_PREFIX": "a.b"},
		`XMPP_DOMAIN (main-domain): "meet example" is not`:                             {"XMPP_DOMAIN": "meet example"},
		`XMPP_GUEST_DOMAIN (extra-domains): "guest x" is not`:                          {"ENABLE_AUTH": "1", "ENABLE_GUESTS": "1", "XMPP_GUEST_DOMAIN": "guest x"},
		"VISITORS_MAX_VISITORS_PER_NODE (max-visitors-per-room): 0 is":                 {"VISITORS_MAX_VISITORS_PER_NODE": "0"},
		`LOG_LEVEL (log-level): "verbose" is none of`:                                  {"LOG_LEVEL": "verbose"},
		`SHARD (shard): "a b" is not`:                                                  {"SHARD": "a b"},
		`TURN_TRANSPORT: "tls" is neither`:                                             {"TURN_HOST": "x", "TURN_TRANSPORT": "udp,tls"},
		`PROSODY_VISITOR_INDEX: "x" is not`:                                            {"PROSODY_VISITOR_INDEX": "x"},
		`PROSODY_VISITOR_INDEX: "-1" is not`:                                           {"PROSODY_VISITOR_INDEX": "-1"},
		`PROSODY_TRUSTED_PROXIES: "172.18.0.4:80" is neither`:                          {"PROSODY_TRUSTED_PROXIES": "172.18.0.4:80"},
		`VNODE_LOG_FORMAT (log-format): "xml" is none of`:                              {"VNODE_LOG_FORMAT": "xml"},
	} {
		env["PROSODY_MODE"] = "visitors"
		_, err := load(t, env)
		require.ErrorContains(t, err, want)
	}
	c, err := load(t, map[string]string{"PROSODY_MODE": "visitors", "ENABLE_RECORDING": "1", "XMPP_RECORDER_DOMAIN": "recorder.meet.jitsi", "SHARD": "s1"})
	require.NoError(t, err)
	require.Equal(t, []string{"recorder.meet.jitsi"}, c.ExtraDomains)
	require.Equal(t, "s1", c.Shard)
}

// What Prosody reads alike, a node does: capitals, words for yes and no, blanks.
func TestValuesAsProsodyReadsThem(t *testing.T) {
	for env, want := range map[[2]string]func(c *Config) bool{
		{"XMPP_DOMAIN", "Meet.Example"}:                 func(c *Config) bool { return c.MainDomain == "meet.example" },
		{"LOG_LEVEL", "WARN"}:                           func(c *Config) bool { return c.LogLevel == "warn" },
		{"XMPP_AUTH_DOMAIN", " Auth.meet.jitsi "}:       func(c *Config) bool { return c.AuthDomain == "auth.meet.jitsi" },
		{"PROSODY_VISITORS_MUC_PREFIX", "Muc"}:          func(c *Config) bool { return c.RoomPrefix == "muc" },
		{"PROSODY_VISITORS_S2S_VHOSTS", "A.b, c"}:       func(c *Config) bool { return slices.Equal(c.ExtraDomains, []string{"a.b", "c"}) },
		{"ENABLE_IPV6", "No"}:                           func(c *Config) bool { return c.HTTP[0] == "0.0.0.0:5280" },
		{"ENABLE_IPV6", "f"}:                            func(c *Config) bool { return c.HTTP[0] == "0.0.0.0:5280" },
		{"ENABLE_RECORDING", "T"}:                       func(c *Config) bool { return slices.Equal(c.ExtraDomains, []string{"hidden.meet.jitsi"}) },
		{"PROSODY_VISITOR_INDEX", "v3"}:                 func(c *Config) bool { return c.ID == "v3" },
		{"PROSODY_VISITOR_INDEX", " 3"}:                 func(c *Config) bool { return c.ID == "v3" },
		{"PROSODY_TRUSTED_PROXIES", "[::1],[fd00::]/8"}: func(c *Config) bool { return len(c.TrustedProxies) == 2 },
	} {
		c, err := load(t, map[string]string{"PROSODY_MODE": "visitors", env[0]: env[1]})
		require.NoError(t, err, env)
		require.True(t, want(c), env)
	}
}

// What a compose file leaves out is no matter of course.
func TestWhatIsNotSetIsNamed(t *testing.T) {
	require.Contains(t, warningsOf(t, map[string]string{"PROSODY_MODE": "visitors"})["JICOFO_AUTH_PASSWORD"], "is not set")
	require.Empty(t, warningsOf(t, map[string]string{"PROSODY_MODE": "visitors", "VNODE_FOCUS_PASSWORD_FILE": "/x"}))
	require.Empty(t, warningsOf(t, map[string]string{"XMPP_DOMAIN": "meet.jitsi"}), "no container")
	docker := map[string]string{"PROSODY_MODE": "visitors", "JICOFO_AUTH_PASSWORD": "x", "XMPP_DOMAIN": "meet.example"}
	require.Contains(t, warningsOf(t, docker)["XMPP_MUC_DOMAIN"], "muc.meet.jitsi")
	docker["XMPP_MUC_DOMAIN"] = "MUC.meet.example"
	require.Empty(t, warningsOf(t, docker))
}

// A compose file passes on what nobody has set as an empty text.
func TestEmptyVariables(t *testing.T) {
	c, err := load(t, map[string]string{
		"VNODE_ID": "", "VNODE_MAX_ROOMS": "", "VNODE_TOKEN_PROMOTION": "", "VNODE_JOIN_WAIT": "", "VNODE_COMEBACK_RATE": "", "VNODE_JICOFO_URL": "", "VNODE_EXTRA_DOMAINS": "",
	}, "-id", "3")
	require.NoError(t, err)
	d, err := load(t, nil, "-id", "3")
	require.NoError(t, err)
	require.Equal(t, d.MaxRooms, c.MaxRooms)
	require.Equal(t, d.JoinWait, c.JoinWait)
	require.True(t, c.TokenPromotion)
	require.Empty(t, c.JicofoURL, "which is a value: do not ask")
}

func TestMisspeltNames(t *testing.T) {
	for name, near := range map[string]string{
		"VNODE_MAIN_DOMIAN=x": "VNODE_MAIN_DOMAIN", "VNODE_MAXVISITORS=1": "VNODE_MAX_VISITORS", "VNODE_CONFIGS=x": "VNODE_CONFIG",
		"VNODE_LOGLEVEL=info": "VNODE_LOG_LEVEL", "VNODE_TRUSTED_PROXY=": "VNODE_TRUSTED_PROXIES",
		"VNODE_S2S_PORT=52693": "VNODE_S2S", "VNODE_HTTP_PORT=": "VNODE_HTTP", "VNODE_": "VNODE_ID",
	} {
		require.ErrorContains(t, CheckNames([]string{"PATH=/bin", name}), "the nearest is "+near)
	}
	require.NoError(t, CheckNames([]string{
		"VNODE_ID=3", "VNODE_CONFIG=/etc/vnode/v3.toml", "VNODE_PORT=52693", "PROSODY_MODE=visitors",
		"VNODE_PORT=tcp://10.0.0.9:5280", "VNODE_SERVICE_HOST=10.0.0.9", "VNODE_SERVICE_PORT_HTTP=5280", "VNODE_PORT_5280_TCP_ADDR=10.0.0.9",
		"VNODE_HTTP_PORT=tcp://10.0.0.9:80", "VNODE_V3_PORT_5222_TCP_PORT=5222", "VNODE_V3_PORT_5222_TCP_PROTO=tcp", "VNODE_V3_SERVICE_PORT=5222",
		"VNODE_V3_SERVICE_HOST=10.0.0.9", "VNODE_V3_PORT=tcp://10.0.0.9:5280",
	}))
	c, err := load(t, map[string]string{"VNODE_PORT": "tcp://10.0.0.9:5280", "VNODE_ID": "3"})
	require.NoError(t, err)
	require.Equal(t, []string{":52693"}, c.S2S, "a service of Kubernetes called vnode sets no port of ours")

	for args, near := range map[string]string{"-main-domian": "-main-domain", "-prot": "-port", "--maxvisitors": "-max-visitors"} {
		_, err := load(t, nil, args, "1")
		require.ErrorContains(t, err, "the nearest is "+near)
	}
}

func TestTruthsNeedNoValue(t *testing.T) {
	for _, args := range [][]string{
		{"-main-without-connect"}, {"-main-without-connect", "-id", "3"}, {"--main-without-connect=true"}, {"-main-without-connect", "true"}, {"-main-without-connect", "1", "-id", "3"},
	} {
		c, err := load(t, nil, args...)
		require.NoError(t, err, args)
		require.True(t, c.MainWithoutConnect, args)
	}
	for _, word := range []string{"yes", "on", "T", "TRUE", "1", "Y"} {
		c, err := load(t, map[string]string{"VNODE_MAIN_WITHOUT_CONNECT": word})
		require.NoError(t, err, word)
		require.True(t, c.MainWithoutConnect, word)
	}
	for _, args := range [][]string{{"-token-promotion=no"}, {"-token-promotion", "off", "-id", "3"}, {"--token-promotion", "0"}, {"-token-promotion=F"}, {"-token-promotion=n"}} {
		c, err := load(t, nil, args...)
		require.NoError(t, err, args)
		require.False(t, c.TokenPromotion, args)
	}
	_, err := load(t, map[string]string{"VNODE_TOKEN_PROMOTION": "perhaps"})
	require.ErrorContains(t, err, `VNODE_TOKEN_PROMOTION: "perhaps" is neither`)
	c, err := load(t, nil, "-token-promotion", "false")
	require.NoError(t, err)
	require.False(t, c.TokenPromotion)
}
