package node

import (
	"fmt"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"vnode/cmd/internal/config"
	"vnode/visitor/sasl"
	"vnode/visitor/token"
)

// accounts are the users of one domain of accounts-file. They are replaced
// whole by a reload; who is logged in stays.
type accounts struct {
	users atomic.Pointer[sasl.Directory]
}

// Account implements sasl.Accounts.
func (a *accounts) Account(user string) (sasl.Account, bool) { return a.users.Load().Account(user) }

func readAccounts(c *config.Config) (map[string]sasl.Directory, error) {
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
	return domains, nil
}

func (n *Node) openAccounts(c *config.Config) (map[string]sasl.Accounts, error) {
	domains, err := readAccounts(c)
	if err != nil {
		return nil, err
	}
	n.accounts = make(map[string]*accounts)
	all := make(map[string]sasl.Accounts)
	for d, users := range domains {
		n.accounts[d] = new(accounts)
		n.accounts[d].users.Store(&users)
		all[d] = n.accounts[d]
	}
	return all, nil
}

// replaceAccounts lets the users of a file log in that was read again, and logs
// what is new. Which domains there are is decided at the start: one that has gone
// has no users any more, and a new one waits for a restart.
func (n *Node) replaceAccounts(domains map[string]sasl.Directory) {
	for d, a := range n.accounts {
		old, users := *a.users.Load(), domains[d]
		a.users.Store(&users)
		added, removed, changed := difference(old, users)
		if added+removed+changed > 0 {
			n.log.Info("accounts read again", "domain", d, "added", added, "removed", removed, "changed", changed)
		}
	}
	for d := range domains {
		if n.accounts[d] == nil {
			n.log.Warn("a restart is needed for a new domain in accounts-file", "domain", d)
		}
	}
}

func difference(old, users sasl.Directory) (added, removed, changed int) {
	for name, account := range users {
		switch was, ok := old[name]; {
		case !ok:
			added++
		case was.Line("") != account.Line(""):
			changed++
		}
	}
	for name := range old {
		if _, ok := users[name]; !ok {
			removed++
		}
	}
	return added, removed, changed
}

// keySource is a server of keys: its cache outlives a reload.
type keySource struct {
	url  string
	keys interface {
		token.Keys
		Expire()
	}
}

// shortSecret is the length in bytes below which RFC 7518 §3.2 has a secret not
// be used with HS256.
const shortSecret = 32

// openTokens begins to verify visitors' tokens, if any are asked for.
func (n *Node) openTokens(c *config.Config) (err error) {
	if !c.Tokens() {
		return nil
	}
	cfg, source, err := n.tokenConfig(c)
	if err != nil {
		return err
	}
	n.keySource = source
	if n.tokens, err = token.New(cfg); err != nil {
		return fmt.Errorf("token-algorithms: %w", err)
	}
	return nil
}

// tokenConfig reads the key file, or says where keys are fetched when a token
// wants them.
func (n *Node) tokenConfig(c *config.Config) (token.Config, keySource, error) {
	cfg := token.Config{
		Algorithms: []string{"RS256"}, Issuers: c.TokenIssuers, Audiences: c.TokenAudiences,
		Domains: []string{c.MainDomain, c.Host()}, AnyTenant: c.TokenAnyTenant,
		Optional: c.TokenOptional, RoomOptional: c.TokenRoomOptional, Leeway: time.Duration(c.TokenLeeway),
	}
	var source keySource
	if c.TokenKeysURL != "" || c.TokenKeyServer != "" {
		source = n.remoteKeys(c)
		cfg.Keys = source.keys
	} else {
		content, err := os.ReadFile(c.TokenKeyFile)
		if err != nil {
			return cfg, source, fmt.Errorf("token-key-file: %w", err)
		}
		if cfg.Keys, cfg.Algorithms, err = token.FileKeys(content); err != nil {
			return cfg, source, fmt.Errorf("token-key-file %s: %w", c.TokenKeyFile, err)
		}
		if cfg.Algorithms[0] == "HS256" && len(content) < shortSecret {
			n.log.Warn("the secret in token-key-file is short enough to be guessed", "bytes", len(content), "should_be", shortSecret)
		}
	}
	if len(c.TokenAlgorithms) > 0 {
		cfg.Algorithms = c.TokenAlgorithms
	}
	if err := cfg.Validate(); err != nil {
		return cfg, source, fmt.Errorf("token-algorithms: %w", err)
	}
	return cfg, source, nil
}

// remoteKeys returns the source that is there when its URL is still the same.
func (n *Node) remoteKeys(c *config.Config) keySource {
	url := c.TokenKeysURL + " " + c.TokenKeyServer
	if n.keySource.url == url {
		return n.keySource
	}
	client := &http.Client{Transport: &http.Transport{
		Proxy: http.ProxyFromEnvironment, MaxConnsPerHost: 8, IdleConnTimeout: time.Minute, TLSHandshakeTimeout: 5 * time.Second,
	}}
	if c.TokenKeysURL != "" {
		set := token.NewKeySet(c.TokenKeysURL, client, n.log)
		set.KeepIn(n.guard)
		return keySource{url, set}
	}
	server := token.NewKeyServer(c.TokenKeyServer, client, n.log)
	server.KeepIn(n.guard)
	return keySource{url, server}
}

// credentials are what a reload has read of those who log in.
type credentials struct {
	accounts map[string]sasl.Directory
	tokens   token.Config
	source   keySource
}

// readCredentials reads what next names, and changes nothing. Whether there are tokens at all is decided at
// the start, as rooms go by it too: if c turns them off, the keys stay as they are.
func (n *Node) readCredentials(next, c *config.Config) (r credentials, err error) {
	if r.accounts, err = readAccounts(next); err != nil || n.tokens == nil || !c.Tokens() {
		return r, err
	}
	r.tokens, r.source, err = n.tokenConfig(next)
	return r, err
}

// replaceCredentials goes by what was read from now on. What was granted before
// stays.
func (n *Node) replaceCredentials(r credentials) error {
	n.replaceAccounts(r.accounts)
	if r.tokens.Keys == nil {
		return nil
	}
	n.keySource = r.source
	if r.source.keys != nil {
		r.source.keys.Expire()
	}
	return n.tokens.Reload(r.tokens)
}
