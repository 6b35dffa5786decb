package config

import (
	"flag"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func load(t *testing.T, env map[string]string, args ...string) (*Config, error) {
	t.Helper()
	flags := flag.NewFlagSet("vnode", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return Load(flags, args, func(k string) (string, bool) { v, ok := env[k]; return v, ok })
}

func file(t *testing.T, text string) string {
	path := filepath.Join(t.TempDir(), "vnode.toml")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestNodeThreeWithoutConfiguration(t *testing.T) {
	c, err := load(t, nil, "-id", "3", "-port", "52693")
	require.NoError(t, err)
	require.Equal(t, "v3.meet.jitsi", c.Host())
	require.Equal(t, "conference.v3.meet.jitsi", c.Rooms())
	require.Equal(t, "conference.meet.jitsi", c.MainRooms())
	require.Equal(t, []string{":52693"}, c.S2S)
	require.Equal(t, []string{"127.0.0.1:52223"}, c.C2S)
	require.Equal(t, []string{"127.0.0.1:52803"}, c.HTTP)
	require.Equal(t, "127.0.0.1:52603", c.Admin)
	require.Equal(t, "127.0.0.1:5269", c.MainS2S)
	require.Equal(t, "auth.meet.jitsi", c.AuthDomain)
}

func TestFlagsOverEnvironmentOverFileOverDefault(t *testing.T) {
	path := file(t, "id = 4\nmain-domain = 'file.example'\nroom-prefix = 'muc'\nc2s = ['127.0.0.1:1', '[::1]:1']\n")
	env := map[string]string{"VNODE_CONFIG": path, "VNODE_MAIN_DOMAIN": "env.example", "VNODE_ID": "v5", "VNODE_HTTP": "unix:/run/x.sock, 127.0.0.1:2"}
	c, err := load(t, env, "-id", "6")
	require.NoError(t, err)
	require.Equal(t, ID("v6"), c.ID)
	require.Equal(t, "env.example", c.MainDomain)
	require.Equal(t, "muc", c.RoomPrefix)
	require.Equal(t, []string{"127.0.0.1:1", "[::1]:1"}, c.C2S)
	require.Equal(t, []string{"unix:/run/x.sock", "127.0.0.1:2"}, c.HTTP)
	require.Equal(t, 52696, c.Port)
}

func TestIDWithQuotesAndWithout(t *testing.T) {
	for _, text := range []string{"id = 7", "id = '7'", "id = 'v7'"} {
		c, err := load(t, nil, "-config", file(t, text))
		require.NoError(t, err)
		require.Equal(t, ID("v7"), c.ID)
	}
}

func TestErrorsNameTheRemedy(t *testing.T) {
	for name, tc := range map[string]struct {
		file string
		args []string
		want string
	}{
		"unknown key":          {file: "main-domian = 'x'", want: `line 1: unknown key "main-domian"; the nearest is "main-domain"`},
		"syntax":               {file: "id = ", want: "line 1: id: "},
		"wrong type":           {file: "port = 'x'", want: "line 1: port must be a number"},
		"unknown flag":         {args: []string{"-prot", "1"}, want: "unknown flag -prot; the nearest is -port"},
		"argument":             {args: []string{"3"}, want: `unexpected argument "3"`},
		"not a number":         {args: []string{"-port", "x"}, want: `-port: "x" is not a number`},
		"port":                 {args: []string{"-port", "70000"}, want: "port: 70000 is not a port"},
		"empty id":             {args: []string{"-id", ""}, want: "-id: is empty"},
		"id with a dot":        {args: []string{"-id", "a.b"}, want: "id: \"a.b\" is not a single label"},
		"main-s2s":             {args: []string{"-main-s2s", "10.0.0.1"}, want: `main-s2s: "10.0.0.1" is not host:port`},
		"itself for main":      {args: []string{"-id", "3", "-main-domain", "v3.meet.jitsi"}, want: "this node's own domain"},
		"focus among visitors": {args: []string{"-id", "3", "-auth-domain", "v3.meet.jitsi"}, want: "the focus needs a domain of its own"},
		"domain":               {args: []string{"-main-domain", "a b"}, want: "main-domain: \"a b\" is not a domain"},
		"listener":             {args: []string{"-http", "52803"}, want: `http: "52803" is not host:port`},
		"unix for s2s":         {args: []string{"-s2s", "unix:/x"}, want: `s2s: "unix:/x"`},
		"long path":            {args: []string{"-http", "unix:/" + strings.Repeat("x", 200)}, want: "has 201 bytes; that of a socket has at most"},
		"sibling's long path":  {args: []string{"-siblings", "v4=unix:/" + strings.Repeat("x", 200)}, want: "siblings: the path"},
		"key without cert":     {args: []string{"-key-file", "x"}, want: "set both or neither"},
		"trust":                {args: []string{"-s2s-trust", "all"}, want: `s2s-trust: "all" is none of`},
		"network":              {args: []string{"-s2s-trusted-addresses", "10.0.0.0/40"}, want: "neither an address nor a network"},
		"level":                {args: []string{"-log-level", "loud"}, want: `log-level: "loud" is none of debug, info, warn, error`},
		"no such file":         {args: []string{"-config", "/nonexistent/vnode.toml"}, want: "no such file"},
		"grace":                {args: []string{"-main-grace", "soon"}, want: `-main-grace: "soon" is not a duration`},
		"no grace":             {args: []string{"-main-grace", "0s"}, want: "main-grace: must be longer"},
		"long gap":             {args: []string{"-sweep-gap", "2s"}, want: "sweep-gap: must be between"},
		"grace in the file":    {file: "main-grace = 'x'", want: "line 1: main-grace: "},
		"visitors":             {args: []string{"-max-visitors-per-room", "0"}, want: "max-visitors-per-room: 0 is less than 1"},
		"rooms":                {args: []string{"-max-rooms", "0"}, want: "max-rooms: 0 is less than 1"},
		"history":              {args: []string{"-history-messages", "-1"}, want: "history-messages: -1 is less than 0"},
		"burst":                {args: []string{"-chat-burst", "0"}, want: "chat-burst: 0 is less than 1"},
		"rate":                 {args: []string{"-join-rate", "-1"}, want: "join-rate: -1 is not a number a second"},
		"no rate":              {args: []string{"-chat-rate", "fast"}, want: `-chat-rate: "fast" is not a number`},
		"not a rate":           {args: []string{"-chat-rate", "NaN"}, want: "chat-rate: NaN is not a number a second"},
		"slow mode":            {args: []string{"-chat-slow-mode", "-1s"}, want: "chat-slow-mode: is less than nothing"},
		"audience":             {args: []string{"-chat-audience", "some"}, want: `chat-audience: "some" is none of all, visitors, nobody`},
		"not a truth":          {args: []string{"-token-promotion", "maybe"}, want: `-token-promotion: "maybe" is neither true nor false`},
		"sibling":              {args: []string{"-siblings", "v4"}, want: `siblings: "v4" is not a node and its address`},
		"sibling's address":    {args: []string{"-siblings", "v4=x"}, want: `siblings: "v4=x" has no address`},
		"own sibling":          {args: []string{"-id", "4", "-siblings", "v4=127.0.0.1:1"}, want: `siblings: "v4=127.0.0.1:1" is this node`},
		"proxies":              {args: []string{"-trusted-proxies", "unix,nginx"}, want: "trusted-proxies: \"nginx\" is neither"},
		"origin":               {args: []string{"-http-origins", "meet.example.com"}, want: "http-origins: \"meet.example.com\" is not an origin"},
		"region header":        {args: []string{"-region-header", "a b"}, want: "region-header: \"a b\" is not the name"},
		"shard":                {args: []string{"-shard", "a b"}, want: "shard: \"a b\" is not a name"},
		"https":                {args: []string{"-https", "443"}, want: `https: "443" is not host:port`},
		"joins":                {args: []string{"-max-joins-per-second", "1"}, want: "max-joins-per-second: 1 is less than 10"},
		"per address":          {args: []string{"-max-connections-per-address", "0"}, want: "max-connections-per-address: 0"},
		"two kinds of keys":    {args: []string{"-token-key-file", "x", "-token-keys-url", "https://x"}, want: "exclude each other: set one"},
		"keys URL":             {args: []string{"-token-keys-url", "keys"}, want: `token-keys-url: "keys" is not a URL`},
		"key server":           {args: []string{"-token-key-server", "ftp://x"}, want: `token-key-server: "ftp://x" is not a URL`},
		"no issuers":           {args: []string{"-token-key-file", "x"}, want: "token-issuers: name the issuers"},
		"no audiences":         {args: []string{"-token-key-file", "x", "-token-issuers", "*", "-token-audiences", ""}, want: "token-audiences: name the audiences"},
		"optional without":     {args: []string{"-token-optional", "true"}, want: "token-optional: there are no keys"},
		"neither true nor":     {args: []string{"-token-optional", "maybe"}, want: `-token-optional: "maybe" is neither true nor false`},
		"leeway":               {args: []string{"-token-leeway", "-1s"}, want: "token-leeway: must not be negative"},
		"several at a time":    {args: []string{"-log-level", "x", "-log-format", "y"}, want: "log-format"},
	} {
		t.Run(name, func(t *testing.T) {
			args := tc.args
			if tc.file != "" {
				args = append(args, "-config", file(t, tc.file))
			}
			_, err := load(t, nil, args...)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestHelpIsNotAFailure(t *testing.T) {
	_, err := load(t, nil, "-help")
	require.ErrorIs(t, err, flag.ErrHelp)
}

// Every key of the default file is a flag, an environment variable and a field
// of Config, and the other way round.
func TestDefaultFileIsComplete(t *testing.T) {
	var c Config
	require.NoError(t, decode(&c, Default))
	fields := reflect.TypeFor[Config]()
	for i := range fields.NumField() {
		key, named := fields.Field(i).Tag.Lookup("toml")
		if named && key != "-" {
			require.Contains(t, Keys(), key, "it has no usage")
		}
	}
	for _, s := range c.settings() {
		require.True(t, s.value.IsValid(), s.key)
		require.Regexp(t, `(?m)^`+s.key+` = `, Default)
		require.NotEmpty(t, s.usage)
	}
	c.complete()
	require.NoError(t, c.Validate())
}

// A reload takes what may change, and says what waits for a restart.
func TestReload(t *testing.T) {
	a, err := load(t, nil, "-id", "3")
	require.NoError(t, err)
	b, err := load(t, nil, "-id", "3", "-log-level", "debug", "-s2s-pins", "aa", "-max-connections", "7")
	require.NoError(t, err)
	b.TokenOptional = true
	next, applied, waiting := a.Reload(b, false)
	require.ElementsMatch(t, []string{"log-level", "s2s-pins"}, applied)
	require.ElementsMatch(t, []string{"max-connections", "token-optional"}, waiting)
	require.Equal(t, "debug", next.LogLevel)
	require.False(t, next.TokenOptional)
	require.Equal(t, a.MaxConnections, next.MaxConnections)
	next, applied, _ = a.Reload(b, true)
	require.Contains(t, applied, "token-optional")
	require.True(t, next.TokenOptional)
	_, applied, waiting = a.Reload(a, true)
	require.Empty(t, applied)
	require.Empty(t, waiting)
}

func TestExternalServices(t *testing.T) {
	c, err := load(t, nil, "-turn-services", "stun:a.example, turn:b.example:3478?transport=udp,turns:[::1]:5349?transport=tcp")
	require.NoError(t, err)
	got, err := c.ExternalServices()
	require.NoError(t, err)
	require.Equal(t, []ExternalService{
		{Type: "stun", Host: "a.example"},
		{Type: "turn", Host: "b.example", Port: 3478, Transport: "udp"},
		{Type: "turns", Host: "::1", Port: 5349, Transport: "tcp"},
	}, got)
	for _, bad := range []string{"http://x", "turn:", "turn:x:0", "turn:x:y", "turn:x?transport=sctp", "x", "%"} {
		_, err := load(t, nil, "-turn-services", bad)
		require.ErrorContains(t, err, "turn-services: ", bad)
	}
}

func TestTrustedAddresses(t *testing.T) {
	c, err := load(t, nil, "-s2s-trusted-addresses", "10.0.0.1,192.168.0.0/16,::1")
	require.NoError(t, err)
	p, err := c.TrustedAddresses()
	require.NoError(t, err)
	require.Len(t, p, 3)
}

func FuzzFile(f *testing.F) {
	f.Add(Default)
	f.Add("id = 3")
	f.Fuzz(func(t *testing.T, text string) {
		var c Config
		_ = decode(&c, Default)
		if decode(&c, text) == nil {
			c.complete()
			_ = c.Validate()
		}
	})
}

func TestProxiesAndSiblings(t *testing.T) {
	c, err := load(t, nil, "-trusted-proxies", "unix, 10.0.0.0/8,127.0.0.1", "-siblings", "v4=127.0.0.1:1,v5=unix:/run/x",
		"-http-origins", "https://*.example.com,http://localhost:8080", "-token-key-file", "x", "-token-issuers", "*", "-token-optional", "true")
	require.NoError(t, err)
	list, unix, err := c.Proxies()
	require.NoError(t, err)
	require.True(t, unix)
	require.Equal(t, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("127.0.0.1/32")}, list)
	siblings, err := c.SiblingNodes()
	require.NoError(t, err)
	require.Equal(t, []Sibling{{"v4", "tcp", "127.0.0.1:1"}, {"v5", "unix", "/run/x"}}, siblings)
	require.True(t, c.Tokens())
	require.True(t, c.TokenOptional)
}

// systemd makes a directory for all nodes, or one for each.
func TestStateDirectoryOfAUnit(t *testing.T) {
	c := &Config{ID: "v3"}
	for given, want := range map[string]string{
		"/var/lib/vnode": "/var/lib/vnode/v3", "/var/lib/vnode/v3": "/var/lib/vnode/v3", "/var/lib/vnode/v3:/other": "/var/lib/vnode/v3",
	} {
		t.Setenv("STATE_DIRECTORY", given)
		dir, err := c.StateDirectory()
		require.NoError(t, err)
		require.Equal(t, want, dir)
	}
}
