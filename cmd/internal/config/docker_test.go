package config

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A node in the place of a visitor prosody's container: the same variables, the
// same names and ports.
func TestInPlaceOfAVisitorProsodysContainer(t *testing.T) {
	c, err := load(t, map[string]string{"PROSODY_MODE": "visitors", "PROSODY_VISITOR_INDEX": "2"})
	require.NoError(t, err)
	require.Equal(t, "muc.v2.meet.jitsi", c.Rooms())
	require.Equal(t, "muc.meet.jitsi", c.MainRooms())
	require.Equal(t, "xmpp.meet.jitsi:5269", c.MainS2S)
	require.Equal(t, []string{":5269"}, c.S2S)
	require.Equal(t, []string{":5222"}, c.C2S)
	require.Equal(t, []string{":5280"}, c.HTTP)
	require.Equal(t, 250, c.MaxVisitorsPerRoom)

	c, err = load(t, map[string]string{
		"PROSODY_MODE": "visitors", "XMPP_DOMAIN": "main.example", "XMPP_SERVER": "10.0.0.5", "XMPP_SERVER_S2S_PORT": "5270",
		"PROSODY_S2S_PORT": "52690", "XMPP_PORT": "52220", "PROSODY_HTTP_PORT": "52800", "XMPP_MUC_DOMAIN": "rooms.main.example",
		"PROSODY_VISITORS_MUC_PREFIX": "rooms", "XMPP_AUTH_DOMAIN": "auth.main.example", "JICOFO_AUTH_PASSWORD": "f0cus",
		"ENABLE_AUTH": "1", "ENABLE_GUESTS": "true", "XMPP_GUEST_DOMAIN": "guest.main.example", "ENABLE_TRANSCRIPTIONS": "yes",
		"PROSODY_VISITORS_S2S_VHOSTS": "a.example, b.example,", "VISITORS_MAX_VISITORS_PER_NODE": "5000", "LOG_LEVEL": "warn",
		"STUN_HOST": "stun.example", "TURN_HOST": "t1.example,t2.example", "TURN_TRANSPORT": "udp,tcp", "TURN_PORT": "3478",
		"TURNS_HOST": "t1.example", "TURN_CREDENTIALS": "s3cret",
	})
	require.NoError(t, err)
	require.Equal(t, "rooms.v0.meet.jitsi", c.Rooms())
	require.Equal(t, "main.example", c.MainDomain)
	require.Equal(t, "10.0.0.5:5270", c.MainS2S)
	require.Equal(t, []string{":52690"}, c.S2S)
	require.Equal(t, []string{":52220"}, c.C2S)
	require.Equal(t, []string{":52800"}, c.HTTP)
	require.Equal(t, "auth.main.example", c.AuthDomain)
	require.Equal(t, "f0cus", c.FocusPassword)
	require.Equal(t, "s3cret", c.TURNSecret)
	require.Equal(t, []string{"guest.main.example", "hidden.meet.jitsi", "a.example", "b.example"}, c.ExtraDomains)
	require.Equal(t, 5000, c.MaxVisitorsPerRoom)
	require.Equal(t, "warn", c.LogLevel)
	require.Equal(t, []string{
		"stun:stun.example:443", "turn:t1.example:3478?transport=udp", "turn:t1.example:3478?transport=tcp",
		"turn:t2.example:3478?transport=udp", "turn:t2.example:3478?transport=tcp", "turns:t1.example:443?transport=tcp",
	}, c.TURNServices)
}

func TestDockersNamesOverTheFileAndUnderOurs(t *testing.T) {
	path := file(t, "main-domain = 'file.example'\nroom-prefix = 'file'\nid = 4\n")
	c, err := load(t, map[string]string{"XMPP_DOMAIN": "docker.example", "XMPP_SERVER": "docker", "VNODE_MAIN_S2S": "ours:1"}, "-config", path)
	require.NoError(t, err)
	require.Equal(t, "docker.example", c.MainDomain)
	require.Equal(t, "ours:1", c.MainS2S)
	require.Equal(t, "file", c.RoomPrefix)
	require.Equal(t, []string{"127.0.0.1:52224"}, c.C2S, "no container, no ports of one")
}

// LOG_LEVEL and TURN_HOST are not Jitsi's alone.
func TestOtherPeoplesVariablesAreLeftAlone(t *testing.T) {
	c, err := load(t, map[string]string{"LOG_LEVEL": "verbose", "TURN_HOST": "x", "TURN_CREDENTIALS": "y"})
	require.NoError(t, err)
	require.Equal(t, "info", c.LogLevel)
	require.Empty(t, c.TURNServices)
	require.Empty(t, c.TURNSecret)
}

func TestWhatANodeCannotBeTold(t *testing.T) {
	for want, env := range map[string]map[string]string{
		"VISITORS_XMPP_DOMAIN: ":             {"PROSODY_MODE": "visitors", "VISITORS_XMPP_DOMAIN": "visitors.example"},
		"they must begin alike":              {"PROSODY_MODE": "visitors", "XMPP_MUC_DOMAIN": "conference.meet.jitsi"},
		"TURN_USERNAME and TURN_PASSWORD go": {"PROSODY_MODE": "visitors", "TURN_USERNAME": "u"},
		"VISITORS_MAX_VISITORS_PER_NODE: ":   {"PROSODY_MODE": "visitors", "VISITORS_MAX_VISITORS_PER_NODE": "many"},
		`PROSODY_S2S_PORT: "port" is not a`:  {"PROSODY_MODE": "visitors", "PROSODY_S2S_PORT": "port"},
		`TURN_PORT: "0" is not a port`:       {"XMPP_DOMAIN": "meet.jitsi", "TURN_HOST": "x", "TURN_PORT": "0"},
	} {
		_, err := load(t, env)
		require.ErrorContains(t, err, want)
	}
}

func TestCheckOfAFile(t *testing.T) {
	require.NoError(t, Check(file(t, Default)))
	require.NoError(t, Check(file(t, "\ufeffid = 3\r\nmain-domain = 'meet.example'\r\n")), "an editor of Windows")
	for line, want := range map[string]string{
		`max-rooms = "5"`: "max-rooms must be a number", `token-optional = "yes"`: "token-optional must be true or false", `s2s = ":1"`: "s2s must be a list of texts",
		`extra-domains = [1]`: "extra-domains must be a list", `log-level = 3`: "log-level must be a text, in quotes", `join-wait = 8`: `join-wait: "8" is not a duration`,
		`chat-rate = "x"`: "chat-rate must be a number", `id = "3" x`: "line 2: id: expected newline",
	} {
		require.ErrorContains(t, Check(file(t, "# first\n"+line+"\n")), want)
	}
	require.NoError(t, Check(file(t, "")))
	err := Check(file(t, "main-domian = 'x'\n\nlog-levle = 'info'\n"))
	require.ErrorContains(t, err, `line 1: unknown key "main-domian"; the nearest is "main-domain"`)
	require.ErrorContains(t, err, `line 3: unknown key "log-levle"; the nearest is "log-level"`)
	require.ErrorContains(t, Check(file(t, "log-level = 'loud'\nid = 'a.b'")), "log-level: ")
	require.ErrorIs(t, Check(filepath.Join(t.TempDir(), "none")), os.ErrNotExist)
}
