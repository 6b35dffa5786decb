package node

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"time"

	"vnode/cmd/internal/config"
	"vnode/visitor"
	"vnode/visitor/request"
	"vnode/visitor/sasl"
	"vnode/visitor/sibling"
	"vnode/visitor/token"
)

// focus is the focus' account.
func (n *Node) focus(c *config.Config) (sasl.Accounts, error) {
	password, path := c.FocusPassword, "the environment"
	if password == "" || c.FocusPasswordFile != "" {
		var err error
		if password, path, err = n.state.focusPassword(c.FocusPasswordFile); err != nil {
			return nil, err
		}
	}
	n.passwordFile = path
	const user = "focus"
	account, err := sasl.NewAccount(user, password, true)
	if err != nil {
		return nil, fmt.Errorf("focus password in %s: %w", path, err)
	}
	return sasl.Directory{user: account}, nil
}

// clientConfig says whom the clients' side serves.
func (n *Node) clientConfig(c *config.Config) (visitor.Config, error) {
	focus, errFocus := n.focus(c)
	accounts, errAccounts := readAccounts(c)
	tokens, errTokens := n.tokens(c)
	services, errServices := n.services(c)
	proxies, unix, errProxies := c.Proxies()
	cfg := visitor.Config{
		Domain: c.Host(), AuthDomain: c.AuthDomain, Accounts: focus, AccountDomains: accounts, TLS: n.tlsConfig(),
		Tokens: tokens, RoomPrefix: c.RoomPrefix, Shard: c.Shard, Version: n.version,
		Requests: request.Policy{Proxies: proxies, UnixProxies: unix, Origins: c.HTTPOrigins, RegionHeader: c.RegionHeader},
		Items:    []string{c.Rooms()},
		Services: services,
		Limits: visitor.Limits{
			Connections: c.MaxConnections, PerAddress: c.MaxPerAddress, JoinsPerSecond: c.MaxJoinsPerSecond,
		},
	}
	return cfg, errors.Join(errFocus, errAccounts, errTokens, errServices, errProxies)
}

func readAccounts(c *config.Config) (map[string]sasl.Accounts, error) {
	if c.AccountsFile == "" {
		return nil, nil
	}
	f, err := os.Open(c.AccountsFile)
	if err != nil {
		return nil, fmt.Errorf("accounts-file: %w", err)
	}
	defer f.Close()
	domains, err := sasl.ReadAccounts(f)
	if err != nil {
		return nil, fmt.Errorf("accounts-file %s: %w", c.AccountsFile, err)
	}
	all := make(map[string]sasl.Accounts)
	for d, users := range domains {
		all[d] = users
	}
	return all, nil
}

// shortSecret is the length in bytes below which RFC 7518 §3.2 has a secret not
// be used with HS256.
const shortSecret = 32

// tokens verifies visitors' tokens, nil when none are asked for.
func (n *Node) tokens(c *config.Config) (*token.Verifier, error) {
	if !c.Tokens() {
		return nil, nil
	}
	cfg := token.Config{
		Algorithms: []string{"RS256"}, Issuers: c.TokenIssuers, Audiences: c.TokenAudiences,
		Domains: []string{c.MainDomain, c.Host()}, AnyTenant: c.TokenAnyTenant,
		Optional: c.TokenOptional, RoomOptional: c.TokenRoomOptional, Leeway: time.Duration(c.TokenLeeway),
	}
	client := &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxConnsPerHost: 8, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 5 * time.Second,
	}}
	switch {
	case c.TokenKeysURL != "":
		cfg.Keys = token.NewKeySet(c.TokenKeysURL, client, n.log)
	case c.TokenKeyServer != "":
		cfg.Keys = token.NewKeyServer(c.TokenKeyServer, client, n.log)
	default:
		content, err := os.ReadFile(c.TokenKeyFile)
		if err != nil {
			return nil, fmt.Errorf("token-key-file: %w", err)
		}
		if cfg.Keys, cfg.Algorithms, err = token.FileKeys(content); err != nil {
			return nil, fmt.Errorf("token-key-file %s: %w", c.TokenKeyFile, err)
		}
		if cfg.Algorithms[0] == "HS256" && len(content) < shortSecret {
			n.log.Warn("the secret in token-key-file is short enough to be guessed", "bytes", len(content), "should_be", shortSecret)
		}
	}
	if len(c.TokenAlgorithms) > 0 {
		cfg.Algorithms = c.TokenAlgorithms
	}
	v, err := token.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("token-algorithms: %w", err)
	}
	return v, nil
}

// webTLS is tlsConfig for WebSockets, which HTTP/2 has no upgrade for.
func (n *Node) webTLS() *tls.Config {
	cfg := n.tlsConfig()
	cfg.NextProtos = []string{"http/1.1"}
	return cfg
}

// siblings are the nodes that browsers reach through this one, nil if there are
// none.
func (n *Node) siblings(c *config.Config) (*sibling.Router, error) {
	list, err := c.SiblingNodes()
	if err != nil {
		return nil, fmt.Errorf("siblings: %w", err)
	}
	if len(list) == 0 {
		return nil, nil
	}
	var nodes []sibling.Sibling
	for _, s := range list {
		nodes = append(nodes, sibling.Sibling{
			VNode: s.VNode, Domain: config.HostOf(s.VNode), Address: sibling.Address{Network: s.Network, Addr: s.Addr},
		})
	}
	return sibling.New(nodes, n.log), nil
}
