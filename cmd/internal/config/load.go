package config

import (
	"cmp"
	"encoding"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// setting is one key of Config, reachable by all three names.
type setting struct {
	key   string
	usage string
	value reflect.Value
}

// usages are the flags in the order --help shows them. `…` names the value.
var usages = []struct{ key, usage string }{
	{"id", "node `id`: 3 means v3.meet.jitsi"},
	{"port", "s2s `port`, on all addresses (default 52690 + id)"},
	{"main-domain", "`domain` of the main Prosody"},
	{"main-s2s", "`host:port` where main's s2s is dialed"},
	{"room-prefix", "first `label` of the rooms' domains, here and on main"},
	{"c2s", "`address`es for client TCP, separated by commas (default 127.0.0.1:52220+id)"},
	{"http", "`address`es for WebSocket, also unix:PATH (default 127.0.0.1:52800+id)"},
	{"https", "`address`es for WebSocket with TLS, with certificate-file"},
	{"s2s", "`address`es for s2s; overrides -port"},
	{"admin", "`address` of metrics and health, or off (default 127.0.0.1:52600+id)"},
	{"focus-password-file", "`file` with jicofo's password (default: generated, kept in the state directory)"},
	{"state-dir", "`directory` for certificate, password and learned keys"},
	{"certificate-file", "PEM `file` with the node's certificate (default: self-signed, kept in the state directory)"},
	{"key-file", "PEM `file` with its key"},
	{"auth-domain", "`domain` jicofo logs in at, as focus"},
	{"extra-domains", "further `domain`s of main whose users take part"},
	{"main-grace", "how long rooms wait for a main that went away, a `duration` such as 60s"},
	{"main-without-connect", "`true` for a main of 2022"},
	{"token-promotion", "`false` lets visitors with a token wait for a moderator too"},
	{"s2s-trust", "who is believed to be main: `address`, certificate or anyone"},
	{"s2s-trusted-addresses", "`network`s main may connect from, besides main-s2s"},
	{"s2s-ca-file", "PEM `file` of CAs that sign main's certificate"},
	{"s2s-pins", "SHA-256 `fingerprint`s of main's certificates"},
	{"turn-services", "STUN and TURN `URI`s told to visitors, separated by commas"},
	{"turn-secret-file", "`file` with the secret shared with the TURN servers"},
	{"turn-username", "`name` for TURN servers with fixed credentials, with turn-password-file"},
	{"turn-password-file", "`file` with the password of turn-username"},
	{"turn-ttl", "how long credentials made of the secret are good, a `duration` such as 24h"},
	{"max-visitors-per-room", "`number` of visitors in one room"},
	{"max-visitors", "`number` of visitors in all rooms"},
	{"max-rooms", "`number` of rooms"},
	{"join-rate", "`number` of visitors let into one room a second, 0 for no limit"},
	{"leave-rate", "`number` of leaves of one room told to jicofo a second, 0 for no limit"},
	{"presence-rate", "`number` of presences of one visitor a second, 0 for no limit"},
	{"presence-burst", "`number` of presences of one visitor at once"},
	{"history-messages", "`number` of messages kept of each room for those who join later"},
	{"chat-audience", "who hears visitors: `all`, visitors or nobody"},
	{"chat-rate", "`number` of messages of one visitor a second, 0 for no limit"},
	{"chat-burst", "`number` of messages of one visitor at once"},
	{"room-chat-rate", "`number` of messages of all visitors of a room a second, 0 for no limit"},
	{"room-chat-burst", "`number` of messages of all visitors of a room at once"},
	{"main-rate", "`number` of stanzas of the visitors of all rooms to the main server a second, 0 for no limit"},
	{"main-burst", "`number` of stanzas of the visitors of all rooms to the main server at once"},
	{"chat-slow-mode", "`duration` between two messages of one visitor, such as 30s"},
	{"max-connections", "`number` of client connections"},
	{"max-connections-per-address", "`number` of client connections of one address"},
	{"max-joins-per-second", "`number` of logins let in per second at most"},
	{"siblings", "other nodes reached through this one's http, as `vnode=address`, separated by commas"},
	{"trusted-proxies", "`network`s whose X-Forwarded-For is believed, or unix"},
	{"http-origins", "`origin`s whose pages may connect (default all)"},
	{"region-header", "`header` in which the proxy names the client's region"},
	{"shard", "`name` announced as x-jitsi-shard"},
	{"accounts-file", "`file` with further accounts' salted keys"},
	{"token-key-file", "`file` with the keys of tokens: PEM, or a shared secret"},
	{"token-keys-url", "`URL` of a JWK set with the keys of tokens"},
	{"token-key-server", "`URL` of a server with the keys of tokens, one file each"},
	{"token-algorithms", "signature `algorithm`s of tokens (default by the keys)"},
	{"token-issuers", "`issuer`s of tokens, or *"},
	{"token-audiences", "`audience`s of tokens, or *"},
	{"token-optional", "`true` lets visitors in without a token"},
	{"token-room-optional", "`true` accepts tokens without a room"},
	{"token-any-tenant", "`true` accepts tokens of other tenants"},
	{"token-leeway", "how far the issuer's clock may be off, a `duration`"},
	{"comeback", "how the audience comes back after a fault: `reload`, silent or off"},
	{"comeback-word", "how long main's word is waited for after jicofo has left, a `duration`"},
	{"comeback-settle", "how long after a fault pages are sent to reload, a `duration` such as 22s"},
	{"comeback-ask", "how long after a fault the node asks jicofo itself, a `duration` such as 32s"},
	{"comeback-give-up", "how long after a fault the audience is told that the conference has ended, a `duration`"},
	{"comeback-rate", "`number` of visitors that come back in a second, 0 for no limit"},
	{"join-wait", "how long a visitor's join waits for its room, a `duration` such as 8s"},
	{"jicofo-url", "`URL` of jicofo's REST interface, empty for none"},
	{"ready-without-jicofo", "`false` makes a node without jicofo's login not ready"},
	{"other-nodes", "admin `address`es of the other nodes, asked before a drain, separated by commas"},
	{"drain-timeout", "how long conferences go on after SIGTERM, a `duration` such as 15s"},
	{"sweep-gap", "least `duration` between two sweeps of a room's stanzas to its visitors"},
	{"drain-spread", "over what `duration` the end spreads the closing of sessions"},
	{"admin-token-file", "`file` with the operators' token (default: generated, kept in the state directory)"},
	{"log-level", "`level`: debug, info, warn, error"},
	{"log-format", "`format`: text or json"},
}

// Load reads the configuration: the default, the file named by -config or
// VNODE_CONFIG, the environment, and args over each other. flags receives
// the flags and is parsed; its usage is the caller's. The error is
// [flag.ErrHelp] after -help, and otherwise says what to change.
func Load(flags *flag.FlagSet, args []string, environ func(string) (string, bool)) (*Config, error) {
	c := &Config{from: origins{}}
	if err := decode(c, Default); err != nil {
		return nil, fmt.Errorf("built-in default: %w", err)
	}
	given := map[string]string{}
	file := flags.String("config", "", "configuration `file`, TOML")
	for _, s := range c.settings() {
		take := func(v string) error {
			given[s.key] = v
			return nil
		}
		if s.isBool() {
			flags.BoolFunc(s.key, s.usage, take)
			continue
		}
		flags.Func(s.key, s.usage, take)
	}
	if err := ParseFlags(flags, args); err != nil {
		return nil, err
	}
	if rest := flags.Args(); len(rest) > 0 {
		return nil, fmt.Errorf("unexpected argument %q: flags begin with a dash, such as -id 3", rest[0])
	}
	path := *file
	if path == "" {
		path, _ = environ("VNODE_CONFIG")
	}
	if path != "" {
		if err := c.readFile(path); err != nil {
			return nil, err
		}
	}
	env := environment(environ)
	docker, err := env.docker()
	if err != nil {
		return nil, err
	}
	c.FocusPassword, c.TURNSecret, c.TURNPassword = env.secret("focus-password-file"), env.secret("turn-secret-file"), env.secret("turn-password-file")
	for _, s := range c.settings() {
		if v, ok := docker[s.key]; ok {
			if err := s.set(v); err != nil {
				return nil, fmt.Errorf("%s: %w", strings.Join(DockerNames(s.key), ", "), err)
			}
			c.from[s.key] = env.setOf(DockerNames(s.key))
		}
		if v, ok := environ(EnvName(s.key)); ok && !ofKubernetes(EnvName(s.key), v) && (v != "" || s.mayBeEmpty()) {
			if err := s.set(v); err != nil {
				return nil, fmt.Errorf("%s: %w", EnvName(s.key), err)
			}
			c.from[s.key] = EnvName(s.key)
		}
		if v, ok := given[s.key]; ok {
			if err := s.set(v); err != nil {
				return nil, fmt.Errorf("-%s: %w", s.key, err)
			}
			c.from[s.key] = "-" + s.key
		}
	}
	c.complete()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c.Warnings = append(env.warnings(), c.warnings()...)
	if env.inContainer() && c.FocusPassword == "" && c.FocusPasswordFile == "" {
		c.Warnings = append(c.Warnings, Warning{"JICOFO_AUTH_PASSWORD", "is not set: the node makes a password of its own, which jicofo must be told"})
	}
	return c, nil
}

// EnvName is the environment variable of a key: VNODE_MAIN_DOMAIN.
func EnvName(key string) string {
	return "VNODE_" + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
}

// DockerNames are the variables of docker-jitsi-meet that a key is taken from.
func DockerNames(key string) []string {
	if name, ok := dockerSecrets[key]; ok {
		return []string{name}
	}
	return append(slices.Clone(dockerNames[key]), dockerComposed[key]...)
}

// Check reports everything that is wrong with a configuration file, over the
// default alone.
func Check(path string) error {
	c := new(Config)
	if err := decode(c, Default); err != nil {
		return fmt.Errorf("built-in default: %w", err)
	}
	if err := c.readFile(path); err != nil {
		return err
	}
	c.complete()
	if err := c.Validate(); err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	return nil
}

func (c *Config) readFile(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if err := decode(c, string(b)); err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	if c.from != nil {
		c.from.note(path, string(b))
	}
	return nil
}

func decode(c *Config, text string) error {
	d := toml.NewDecoder(strings.NewReader(text)).DisallowUnknownFields()
	err := d.Decode(c)
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) {
		var errs []error
		for i := range unknown.Errors {
			e := &unknown.Errors[i]
			row, _ := e.Position()
			key := strings.Join(e.Key(), ".")
			errs = append(errs, fmt.Errorf("line %d: unknown key %q; the nearest is %q", row, key, nearest(key)))
		}
		return errors.Join(errs...)
	}
	var syntax *toml.DecodeError
	if errors.As(err, &syntax) {
		row, column := syntax.Position()
		return fmt.Errorf("line %d, column %d: %w", row, column, err)
	}
	return err
}

// UnmarshalText takes the id as a number or as text, in TOML with or without
// quotes.
func (id *ID) UnmarshalText(text []byte) error {
	v := string(text)
	if v == "" {
		return errors.New("is empty; give the node's id, such as 3")
	}
	if _, err := strconv.ParseUint(v, 10, 16); err == nil {
		v = "v" + v
	}
	*id = ID(v)
	return nil
}

// settings lists the keys in the order of usages.
func (c *Config) settings() []setting {
	v := reflect.ValueOf(c).Elem()
	fields := map[string]reflect.Value{}
	for i := range v.NumField() {
		fields[v.Type().Field(i).Tag.Get("toml")] = v.Field(i)
	}
	list := make([]setting, len(usages))
	for i, u := range usages {
		list[i] = setting{u.key, u.usage, fields[u.key]}
	}
	return list
}

// set takes a value as a flag or the environment gives it.
func (s setting) set(v string) error {
	switch p := s.value.Addr().Interface().(type) {
	case encoding.TextUnmarshaler:
		return p.UnmarshalText([]byte(v))
	case *string:
		*p = v
	case *int:
		n, err := strconv.Atoi(v)
		if err != nil {
			return fmt.Errorf("%q is not a number", v)
		}
		*p = n
	case *float64:
		f, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", v)
		}
		*p = f
	case *bool:
		b, err := parseBool(v)
		if err != nil {
			return err
		}
		*p = b
	case *[]string:
		*p = nil
		for part := range strings.SplitSeq(v, ",") {
			if part = strings.TrimSpace(part); part != "" {
				*p = append(*p, part)
			}
		}
	default:
		panic("config: no way to set " + s.key)
	}
	return nil
}

// mayBeEmpty reports whether an empty text is a value. Compose files pass variables
// on that are not set, as empty texts.
func (s setting) mayBeEmpty() bool {
	return s.value.Kind() == reflect.String && s.key != "id" || s.value.Kind() == reflect.Slice
}

// isBool reports whether the setting is a truth value, whose flag needs no value.
func (s setting) isBool() bool { return s.value.Kind() == reflect.Bool }

// nearest returns the known key most like the given one.
func nearest(key string) string {
	keys := make([]string, len(usages))
	for i, u := range usages {
		keys[i] = u.key
	}
	return Nearest(key, keys)
}

// Nearest returns the name most like the given one; of several the one that begins
// most like it.
func Nearest(name string, known []string) string {
	return slices.MinFunc(known, func(a, b string) int {
		return cmp.Or(distance(name, a)-distance(name, b), common(name, b)-common(name, a))
	})
}

// common is how many bytes two names have in common at their beginning.
func common(a, b string) (n int) {
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		previous := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := previous
			if a[i] != b[j] {
				cost++
			}
			previous = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
