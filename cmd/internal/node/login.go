package node

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"vnode/cmd/internal/config"
	"vnode/visitor"
	"vnode/visitor/request"
	"vnode/visitor/sasl"
	"vnode/visitor/sibling"
)

// focus is the focus' account.
func (n *Node) focus(c *config.Config) (sasl.Accounts, error) {
	password, path, err := n.focusPassword(c)
	if err != nil {
		return nil, fmt.Errorf("focus password: %w", err)
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
	accounts, errAccounts := n.openAccounts(c)
	errTokens := n.openTokens(c)
	services, errServices := n.services(c)
	proxies, unix, errProxies := c.Proxies()
	mains, errMains := mainAddresses(c)
	cfg := visitor.Config{
		Guard:  n.guard,
		Domain: c.Host(), AuthDomain: c.AuthDomain, Accounts: focus, AccountDomains: accounts, TLS: n.tlsConfig(),
		Tokens: n.tokens, RoomPrefix: c.RoomPrefix, Shard: c.Shard, Version: n.version,
		Requests: request.Policy{Proxies: proxies, UnixProxies: unix, Origins: c.HTTPOrigins, RegionHeader: c.RegionHeader},
		Items:    []string{c.Rooms()},
		Believed: func(a netip.Addr) bool {
			return slices.ContainsFunc(mains, func(p netip.Prefix) bool { return p.Contains(a) })
		},
		Services: services,
		Limits: visitor.Limits{
			Connections: c.MaxConnections, PerAddress: c.MaxPerAddress, JoinsPerSecond: c.MaxJoinsPerSecond,
		},
	}
	return cfg, errors.Join(errFocus, errAccounts, errTokens, errServices, errProxies, errMains)
}

// mainAddresses are where the main server is, and jicofo beside it, as far as the
// configuration says so in numbers. IPv6 is counted by networks of one subscriber.
func mainAddresses(c *config.Config) ([]netip.Prefix, error) {
	list, err := c.TrustedAddresses()
	if err != nil {
		return nil, fmt.Errorf("s2s-trusted-addresses: %w", err)
	}
	host, _, _ := net.SplitHostPort(c.MainS2S) // Validate has seen it
	if a, err := netip.ParseAddr(host); err == nil {
		list = append(list, netip.PrefixFrom(a, a.BitLen()))
	}
	for i, p := range list {
		if p.Addr().Is6() && p.Bits() > 64 {
			list[i] = netip.PrefixFrom(p.Addr(), 64).Masked()
		}
	}
	return list, nil
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
	return sibling.New(nodes, n.guard, n.log), nil
}
