package config

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

const unixProxies = "unix"

// Proxies parses TrustedProxies: networks, and whether unix sockets are among
// them.
func (c *Config) Proxies() (list []netip.Prefix, unix bool, err error) {
	texts := slices.DeleteFunc(slices.Clone(c.TrustedProxies), func(s string) bool { return s == unixProxies })
	list, err = networks(texts)
	return list, len(texts) < len(c.TrustedProxies), err
}

// Sibling is where another node serves HTTP.
type Sibling struct{ VNode, Network, Addr string }

// SiblingNodes parses Siblings.
func (c *Config) SiblingNodes() ([]Sibling, error) {
	var list []Sibling
	for _, s := range c.Siblings {
		vnode, at, ok := strings.Cut(s, "=")
		if !ok || vnode == "" {
			return nil, fmt.Errorf("%q is not a node and its address, such as v4=127.0.0.1:52804", s)
		}
		if vnode == string(c.ID) {
			return nil, fmt.Errorf("%q is this node", s)
		}
		network, addr := Network(at)
		if _, _, err := net.SplitHostPort(addr); network == "tcp" && err != nil || addr == "" {
			return nil, fmt.Errorf("%q has no address such as 127.0.0.1:52804 or unix:PATH", s)
		}
		if network == "unix" {
			if err := socketPath(addr); err != nil {
				return nil, err
			}
		}
		list = append(list, Sibling{vnode, network, addr})
	}
	return list, nil
}

func (c *Config) validateWeb(bad func(key, format string, args ...any)) {
	if _, err := c.SiblingNodes(); err != nil {
		bad("siblings", "%v", err)
	}
	if _, _, err := c.Proxies(); err != nil {
		bad("trusted-proxies", "%v", err)
	}
	for _, o := range c.HTTPOrigins {
		u, err := url.Parse(strings.Replace(o, "*.", "", 1))
		if err != nil || u.Scheme == "" || u.Host == "" || u.Path != "" {
			bad("http-origins", "%q is not an origin such as https://meet.example.com", o)
		}
	}
	if c.RegionHeader == "" || strings.ContainsAny(c.RegionHeader, " :\r\n") || http.CanonicalHeaderKey(c.RegionHeader) == "Authorization" {
		bad("region-header", "%q is not the name of a header such as X-Proxy-Region", c.RegionHeader)
	}
	if strings.ContainsFunc(c.Shard, func(r rune) bool { return r < '!' || r > '~' }) {
		bad("shard", "%q is not a name without spaces", c.Shard)
	}
}

// Tokens reports whether visitors are asked for tokens.
func (c *Config) Tokens() bool {
	return c.TokenKeyFile != "" || c.TokenKeysURL != "" || c.TokenKeyServer != ""
}

func (c *Config) validateTokens(bad func(key, format string, args ...any)) {
	sources := 0
	for _, s := range []string{c.TokenKeyFile, c.TokenKeysURL, c.TokenKeyServer} {
		if s != "" {
			sources++
		}
	}
	if sources > 1 {
		bad("token-key-file", "it, token-keys-url and token-key-server exclude each other: set one")
	}
	for key, s := range map[string]string{"token-keys-url": c.TokenKeysURL, "token-key-server": c.TokenKeyServer} {
		u, err := url.Parse(s)
		if s != "" && (err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http") {
			bad(key, "%q is not a URL such as https://keys.example.com/", s)
		}
	}
	if c.TokenLeeway < 0 {
		bad("token-leeway", "must not be negative")
	}
	switch {
	case sources == 0 && c.TokenOptional:
		bad("token-optional", "there are no keys to verify tokens with; set token-key-file, token-keys-url or token-key-server")
	case sources > 0 && len(c.TokenIssuers) == 0:
		bad("token-issuers", "name the issuers of tokens (app_id in Jitsi's configuration), or \"*\" for any")
	case sources > 0 && len(c.TokenAudiences) == 0:
		bad("token-audiences", "name the audiences of tokens, or \"*\" for any")
	}
}
