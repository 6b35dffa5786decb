package nginxconf

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// layOut writes files below a directory.
func layOut(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, text := range files {
		path := filepath.Join(root, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return root
}

const nginxConf = "etc/nginx/nginx.conf"

// However a map is written, its entries are those that nginx sees, and what is put
// behind its brace is inside it.
func TestMaps(t *testing.T) {
	for name, tc := range map[string]struct{ text, variable string }{
		"a line each":             {"map $arg_vnode $prosody_node {\n    default prosody;\n    v1 v1;\n    v2 v2;\n}\n", "prosody_node"},
		"several on a line":       {"map $arg_vnode $prosody_node {\n    default prosody; v1 v1;\n    v2 v2; }\n", "prosody_node"},
		"all on one line":         {"map $arg_vnode $prosody_node { default prosody; v1 v1; v2 v2; }\n", "prosody_node"},
		"two maps on one line":    {"map $arg_x $y { v9 v9; } map $arg_vnode $n { default prosody; v1 v1; v2 v2; }", "n"},
		"quoted braces":           {"map $http_x $z { \"}\" \"{\"; 'map $arg_vnode $no {' \"\\\"\"; }\nmap $arg_vnode $n { default \"prosody\"; \"v1\" 'v1'; v2 \"v2\"; '}' '{'; }\n", "n"},
		"comments":                {"# map $arg_vnode $no { v3 v3; }\nmap $arg_vnode $n { # default x; }\n default prosody; # v3 v3;\n v1 v1; v2 v2; }\n", "n"},
		"the brace on its line":   {"map $arg_vnode $n\n{\n default prosody; v1 v1; v2 v2;\n}\n", "n"},
		"variables in braces":     {"map ${arg_vnode} $n { default prosody; v1 v1; v2 v2; }", "n"},
		"a map with an include":   {"map $arg_vnode $n { default prosody; include nodes.map; }", "n"},
		"an include with a star":  {"map $arg_vnode $n { default prosody; include node*.map; v1 v1; }", "n"},
		"unknown modules and Lua": {"more_set_headers 'X: }';\nserver { content_by_lua_block { return \"}\" } geoip2 x { y z; } }\nmap $arg_vnode $n { default prosody; v1 v1; v2 v2; }", "n"},
		"a flag and a source":     {"map $arg_vnode $n { volatile; default prosody; v1 v1; v2 v2; hostnames; }", "n"},
	} {
		t.Run(name, func(t *testing.T) {
			root := layOut(t, map[string]string{
				nginxConf:                   "events {}\nhttp {\n include /etc/nginx/sites/*.conf;\n}\n",
				"etc/nginx/sites/site.conf": tc.text,
				"etc/nginx/nodes.map":       "v1 v1;\nv2 v2;\n",
			})
			c, err := Load(filepath.Join(root, nginxConf), Source{Root: root})
			require.NoError(t, err)
			m, ok := c.MapOf("arg_vnode")
			require.True(t, ok)
			require.Equal(t, filepath.Join(root, "etc/nginx/sites/site.conf"), m.Path)
			require.Equal(t, tc.variable, m.Variable)
			require.Equal(t, "prosody", m.Entries["default"])
			require.Equal(t, "v1", m.Entries["v1"])
			require.Equal(t, "v2", m.Entries["v2"])
			require.NotContains(t, m.Entries, "v3")
			require.NotContains(t, m.Entries, "v9")

			at, err := Inside(tc.text, "map", "$arg_vnode", "$"+m.Variable)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(m.Path, []byte(tc.text[:at]+"\nv4 v4;\n"+tc.text[at:]), 0o644))
			c, err = Load(filepath.Join(root, nginxConf), Source{Root: root})
			require.NoError(t, err)
			m, _ = c.MapOf("arg_vnode")
			require.Equal(t, "v4", m.Entries["v4"])
			require.Equal(t, "v2", m.Entries["v2"])
		})
	}
}

// Upstreams and locations are found wherever nginx finds them, and nowhere else.
func TestUpstreamsAndLocations(t *testing.T) {
	root := layOut(t, map[string]string{
		nginxConf:                      "events {}\nhttp {\n include conf.d/*.conf;\n include sites-enabled/*;\n}\n",
		"etc/nginx/conf.d/a.conf":      "upstream v1 { zone u 64K; server 127.0.0.1:1 max_fails=0; server 127.0.0.1:2; } upstream v2 {\n# server no;\nserver unix:/run/v2; }\n",
		"etc/nginx/site.conf":          "server { location = / { return 200 '{ location = /xmpp-websocket {'; } include snippets/xmpp.conf; }",
		"etc/nginx/snippets/xmpp.conf": "location = /xmpp-websocket { proxy_pass http://$prosody_node/xmpp-websocket?prefix=$prefix&$args; }\nlocation ~ ^/([^/?&:'\"]+)/xmpp-websocket$ { rewrite ^/(.*)$ /xmpp-websocket; }\n",
		"etc/nginx/sites-available/no": "upstream v3 { server no; }",
	})
	require.NoError(t, os.MkdirAll(filepath.Join(root, "etc/nginx/sites-enabled"), 0o755))
	require.NoError(t, os.Symlink("../site.conf", filepath.Join(root, "etc/nginx/sites-enabled/site")))
	require.NoError(t, os.Symlink("../gone.conf", filepath.Join(root, "etc/nginx/sites-enabled/gone")))
	c, err := Load(filepath.Join(root, nginxConf), Source{Root: root})
	require.NoError(t, err)
	require.Empty(t, c.Errors)
	found := map[string]string{}
	for _, u := range c.Upstreams() {
		found[u.Name] = u.Server
	}
	require.Equal(t, map[string]string{"v1": "127.0.0.1:1", "v2": "unix:/run/v2"}, found)
	locations := c.Locations("xmpp-websocket")
	require.Len(t, locations, 2)
	require.Equal(t, Place{filepath.Join(root, "etc/nginx/snippets/xmpp.conf"), 1}, locations[0].Place)
	require.Contains(t, locations[0].ProxyPass, "$prosody_node")
	require.Equal(t, []string{"/xmpp-websocket"}, locations[1].Rewrites)
	require.Contains(t, c.Files(), filepath.Join(root, "etc/nginx/site.conf"))
}

// What is wrong in one file does not hide the others.
func TestBrokenFiles(t *testing.T) {
	root := layOut(t, map[string]string{
		nginxConf:                 "events {}\nhttp { include conf.d/*.conf; include missing.conf; }\n",
		"etc/nginx/conf.d/a.conf": "upstream v1 { server",
		"etc/nginx/conf.d/b.conf": "upstream v2 { server 127.0.0.1:2; }",
	})
	c, err := Load(filepath.Join(root, nginxConf), Source{Root: root})
	require.NoError(t, err)
	require.NotEmpty(t, c.Errors)
	require.Len(t, c.Upstreams(), 1)
	_, err = Load(filepath.Join(root, "etc/nginx/none"), Source{Root: root})
	require.Error(t, err)
}

func FuzzInside(f *testing.F) {
	f.Add("map $a $b { x y; }")
	f.Add("a '\\")
	f.Add("${")
	f.Fuzz(func(t *testing.T, text string) {
		at, err := Inside(text, "map", "$a", "$b")
		if err == nil && text[at-1] != '{' {
			t.Fatalf("%q: %d", text, at)
		}
	})
}
