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
	base := map[string]string{"PROSODY_MODE": "visitors"}
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
	env := map[string]string{"PROSODY_MODE": "visitors", "TURN_HOST": "turn.example"}
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
	require.ErrorContains(t, err, "turn-ttl: 5s is not a number of whole seconds, 60 or more")
	require.Empty(t, warningsOf(t, map[string]string{"PROSODY_MODE": "visitors", "STUN_HOST": "stun.example"}))
}

// Addresses as people and Kubernetes write them.
func TestAddressesThatPeopleHave(t *testing.T) {
	for server, want := range map[string]string{
		"10.0.0.5": "10.0.0.5:5269", "10.0.0.5:5270": "10.0.0.5:5270", "xmpp.meet.jitsi": "xmpp.meet.jitsi:5269",
		"2001:db8::5": "[2001:db8::5]:5269", "[2001:db8::5]": "[2001:db8::5]:5269", "[2001:db8::5]:5270": "[2001:db8::5]:5270",
		"tcp://10.0.0.5:5270": "10.0.0.5:5270", "::1": "[::1]:5269",
	} {
		c, err := load(t, map[string]string{"XMPP_DOMAIN": "meet.jitsi", "XMPP_SERVER": server})
		require.NoError(t, err, server)
		require.Equal(t, want, c.MainS2S, server)
	}
	for _, server := range []string{"https://10.0.0.5", "a b", "10.0.0.5:port", "[2001:db8::5", "host/path", "x@y"} {
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
		"[2001:db8::7]:3478": "turn:[2001:db8::7]:3478?transport=tcp",
	} {
		c, err := load(t, map[string]string{"PROSODY_MODE": "visitors", "TURN_HOST": host, "TURN_CREDENTIALS": "s"})
		require.NoError(t, err, host)
		require.Equal(t, []string{want}, c.TURNServices, host)
	}
	for _, host := range []string{"turn://x", "turn:x?transport=udp", "x:y"} {
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

func TestMisspeltNames(t *testing.T) {
	for name, near := range map[string]string{
		"VNODE_MAIN_DOMIAN=x": "VNODE_MAIN_DOMAIN", "VNODE_MAXVISITORS=1": "VNODE_MAX_VISITORS", "VNODE_CONFIGS=x": "VNODE_CONFIG",
		"VNODE_LOGLEVEL=info": "VNODE_LOG_LEVEL", "VNODE_TRUSTED_PROXY=": "VNODE_TRUSTED_PROXIES",
	} {
		require.ErrorContains(t, CheckNames([]string{"PATH=/bin", name}), "the nearest is "+near)
	}
	require.NoError(t, CheckNames([]string{
		"VNODE_ID=3", "VNODE_CONFIG=/etc/vnode/v3.toml", "VNODE_PORT=52693", "PROSODY_MODE=visitors",
		"VNODE_PORT=tcp://10.0.0.9:5280", "VNODE_SERVICE_HOST=10.0.0.9", "VNODE_SERVICE_PORT_HTTP=5280", "VNODE_PORT_5280_TCP_ADDR=10.0.0.9",
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
	c, err := load(t, nil, "-token-promotion", "false")
	require.NoError(t, err)
	require.False(t, c.TokenPromotion)
}
