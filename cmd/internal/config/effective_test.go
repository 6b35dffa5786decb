package config

import (
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func loaded(t *testing.T, environ map[string]string, args ...string) *Config {
	t.Helper()
	flags := flag.NewFlagSet("vnode", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	c, err := Load(flags, args, func(name string) (string, bool) { v, ok := environ[name]; return v, ok })
	require.NoError(t, err)
	return c
}

// An operator sees which of file, environment and flags has decided, and no secret.
func TestEffective(t *testing.T) {
	path := filepath.Join(t.TempDir(), "v3.toml")
	require.NoError(t, os.WriteFile(path, []byte("id = 3\nmain-grace = '90s'\nlog-level = 'warn'\nshard = 'file'\n"), 0o600))
	c := loaded(t, map[string]string{
		"VNODE_LOG_LEVEL": "debug", "VNODE_SHARD": "environment", "VNODE_TOKEN_KEYS_URL": "https://user:hidden1@keys.example/jwks", "VNODE_TOKEN_ISSUERS": "*", "VNODE_TOKEN_AUDIENCES": "*",
		"XMPP_SERVER": "main.example", "TURN_HOST": "turn.example", "JICOFO_AUTH_PASSWORD": "hidden2", "TURN_CREDENTIALS": "hidden3",
	}, "-config", path, "-shard", "flag")
	var out strings.Builder
	require.NoError(t, c.WriteEffective(&out))
	for _, want := range []string{
		"id = 'v3'  # " + path,
		"main-grace = '1m30s'  # " + path,
		"log-level = 'debug'  # VNODE_LOG_LEVEL",
		"shard = 'flag'  # -shard",
		"main-s2s = 'main.example:5269'  # XMPP_SERVER",
		"turn-services = ['turn:turn.example:443?transport=tcp']  # TURN_HOST",
		"s2s = [':52693']  # default",
		"# focus-password-file: the value of JICOFO_AUTH_PASSWORD, which is not shown, stands for a file",
		"# turn-secret-file: the value of TURN_CREDENTIALS, which is not shown, stands for a file",
		"token-keys-url = 'https://user:xxxxx@keys.example/jwks'  # VNODE_TOKEN_KEYS_URL",
	} {
		require.Contains(t, out.String(), want+"\n")
	}
	require.NotContains(t, out.String(), "hidden")
}

// What is printed is a configuration file that means the same.
func TestEffectiveCanBeReadAgain(t *testing.T) {
	c := loaded(t, map[string]string{"PROSODY_MODE": "visitors", "XMPP_DOMAIN": "meet.example.com", "PROSODY_VISITOR_INDEX": "2"})
	var out strings.Builder
	require.NoError(t, c.WriteEffective(&out))
	require.Contains(t, out.String(), "http = [':5280']  # docker-jitsi-meet's default\n")
	path := filepath.Join(t.TempDir(), "v2.toml")
	require.NoError(t, os.WriteFile(path, []byte(out.String()), 0o600))
	again := loaded(t, nil, "-config", path)
	for i, s := range again.settings() {
		require.Equal(t, c.settings()[i].value.Interface(), s.value.Interface(), s.key)
	}
}
