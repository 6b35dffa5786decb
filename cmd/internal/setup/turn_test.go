package setup

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The nodes name the TURN servers that main names, with what opens them, however
// main's configuration says it.
func TestTURNServersOfMain(t *testing.T) {
	for name, tc := range map[string]struct {
		conf     string
		services []string
		secret   string
		login    string // name and password for everybody
	}{
		"as Jitsi installs it": {`external_service_secret = "s"
external_services = { { type = "stun", host = "h", port = 3478 }, { type = "turn", host = "h", port = 3478, transport = "udp", secret = true, ttl = 86400, algorithm = "turn" } };
VirtualHost "meet.jitsi"`, []string{"stun:h:3478", "turn:h:3478?transport=udp"}, "s", ""},
		"of the host": {`external_service_secret = "no"
VirtualHost "meet.jitsi"
external_service_secret = "s" external_services = { { type = "turns"; host = "h"; port = "5349"; transport = "tcp" } }`, []string{"turns:h:5349?transport=tcp"}, "s", ""},
		"a secret of its own": {`VirtualHost "meet.jitsi"
external_services = { { type = "turn", host = "2001:db8::1", secret = "s" } }`, []string{"turn:[2001:db8::1]"}, "s", ""},
		"one name for everybody": {`external_services = { { type = "turn", host = "h", port = 443, username = "ann \"x\"", password = "p$w" } }
VirtualHost "meet.jitsi"`, []string{"turn:h:443"}, "", `ann "x" p$w`},
		"the older module": {`turncredentials_secret = "s"
turncredentials = { { type = "stun", host = "h", port = "443" }, { type = "turn", host = "h", port = "443", transport = "udp" } }
VirtualHost "meet.jitsi"`, []string{"stun:h:443", "turn:h:443?transport=udp"}, "s", ""},
		"not filled in": {`external_service_secret = "__turnSecret__"
external_services = { { type = "turn", host = "h" } }
VirtualHost "meet.jitsi"`, []string{"turn:h"}, "", ""},
		"none": {`VirtualHost "meet.jitsi"`, []string{}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			require.NoError(t, os.MkdirAll(filepath.Join(root, "etc/prosody"), 0o755))
			require.NoError(t, os.WriteFile(filepath.Join(root, "etc/prosody/prosody.cfg.lua"), []byte(tc.conf+"\nmodules_enabled = {}\n"), 0o644))
			out := mustRun(t, root, "-nodes", "1")
			cfg, err := parseConfig([]byte(read(t, root, "etc/vnode/v1.toml")))
			require.NoError(t, err)
			require.Equal(t, tc.services, cfg.TURNServices)
			secret, login := "", ""
			if cfg.TURNSecretFile != "" {
				secret = read(t, cfg.TURNSecretFile)
			}
			if cfg.TURNPasswordFile != "" {
				login = cfg.TURNUsername + " " + read(t, cfg.TURNPasswordFile)
				require.NotContains(t, out, "p$w")
				unit := read(t, root, "etc/systemd/system/vnode@.service.d/setup.conf")
				require.Contains(t, unit, "turn-password:"+cfg.TURNPasswordFile)
			}
			require.Equal(t, tc.secret, trimmed(secret))
			require.Equal(t, tc.login, trimmed(login))
			mustRun(t, root, "-remove", "all")
			require.NoFileExists(t, filepath.Join(root, "etc/vnode/turn-password"))
		})
	}
}

func trimmed(s string) string {
	if n := len(s); n > 0 && s[n-1] == '\n' {
		return s[:n-1]
	}
	return s
}
