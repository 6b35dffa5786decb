// Package config holds the node's settings: one annotated default embedded in
// the binary, then a file, the environment and flags over it, each stricter
// than forgiving.
package config

import (
	_ "embed"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"vnode/internal/wire"
)

// Default is the annotated default configuration, TOML.
//
//go:embed default.toml
var Default string

// Config is a complete configuration. Load returns one that is valid; who
// makes one otherwise calls Validate.
//
// A setting is one field: its tag has the key of the file (which is the name of the
// flag, and in capitals that of the variable), what --help says, in which a word in
// braces names the value, and whether a reload changes it.
type Config struct {
	ID ID `toml:"id" usage:"node {id}: 3 means v3.meet.jitsi"`

	Port       int      `toml:"port" usage:"s2s {port}, on all addresses (default 52690 + id)"`
	MainDomain string   `toml:"main-domain" usage:"{domain} of the main Prosody"`
	MainS2S    string   `toml:"main-s2s" usage:"{host:port} where main's s2s is dialed" reload:"yes"`
	RoomPrefix string   `toml:"room-prefix" usage:"first {label} of the rooms' domains, here and on main"`
	C2S        []string `toml:"c2s" usage:"{address}es for client TCP, separated by commas (default 127.0.0.1:52220+id)"`
	HTTP       []string `toml:"http" usage:"{address}es for WebSocket, also unix:PATH (default 127.0.0.1:52800+id)"`
	HTTPS      []string `toml:"https" usage:"{address}es for WebSocket with TLS, with certificate-file"`
	S2S        []string `toml:"s2s" usage:"{address}es for s2s; overrides -port"`
	Admin      string   `toml:"admin" usage:"{address} of metrics and health, or off (default 127.0.0.1:52600+id)"`

	FocusPasswordFile string `toml:"focus-password-file" usage:"{file} with jicofo's password (default: generated, kept in the state directory)"`
	StateDir          string `toml:"state-dir" usage:"{directory} for certificate, password and learned keys"`
	CertificateFile   string `toml:"certificate-file" usage:"PEM {file} with the node's certificate (default: self-signed, kept in the state directory)" reload:"yes"`
	KeyFile           string `toml:"key-file" usage:"PEM {file} with its key" reload:"yes"`
	AuthDomain        string `toml:"auth-domain" usage:"{domain} jicofo logs in at, as focus"`

	ExtraDomains        []string `toml:"extra-domains" usage:"further {domain}s of main whose users take part"`
	MainGrace           Duration `toml:"main-grace" usage:"how long rooms wait for a main that went away, a {duration} such as 60s"`
	MainWithoutConnect  bool     `toml:"main-without-connect" usage:"{true} for a main of 2022"`
	TokenPromotion      bool     `toml:"token-promotion" usage:"{false} lets visitors with a token wait for a moderator too"`
	S2STrust            string   `toml:"s2s-trust" usage:"who is believed to be main: {address}, certificate or anyone" reload:"yes"`
	S2STrustedAddresses []string `toml:"s2s-trusted-addresses" usage:"{network}s main may connect from, besides main-s2s" reload:"yes"`
	S2SCAFile           string   `toml:"s2s-ca-file" usage:"PEM {file} of CAs that sign main's certificate" reload:"yes"`
	S2SPins             []string `toml:"s2s-pins" usage:"SHA-256 {fingerprint}s of main's certificates" reload:"yes"`

	TURNServices     []string `toml:"turn-services" usage:"STUN and TURN {URI}s told to visitors, separated by commas"`
	TURNSecretFile   string   `toml:"turn-secret-file" usage:"{file} with the secret shared with the TURN servers"`
	TURNUsername     string   `toml:"turn-username" usage:"{name} for TURN servers with fixed credentials, with turn-password-file"`
	TURNPasswordFile string   `toml:"turn-password-file" usage:"{file} with the password of turn-username"`
	TURNTTL          Duration `toml:"turn-ttl" usage:"how long credentials made of the secret are good, a {duration} such as 24h"`

	MaxVisitorsPerRoom int      `toml:"max-visitors-per-room" usage:"{number} of visitors in one room" reload:"yes"`
	MaxVisitors        int      `toml:"max-visitors" usage:"{number} of visitors in all rooms" reload:"yes"`
	MaxRooms           int      `toml:"max-rooms" usage:"{number} of rooms" reload:"yes"`
	JoinRate           float64  `toml:"join-rate" usage:"{number} of visitors let into one room a second, 0 for no limit" reload:"yes"`
	LeaveRate          float64  `toml:"leave-rate" usage:"{number} of leaves of one room told to jicofo a second, 0 for no limit" reload:"yes"`
	PresenceRate       float64  `toml:"presence-rate" usage:"{number} of presences of one visitor a second, 0 for no limit" reload:"yes"`
	PresenceBurst      int      `toml:"presence-burst" usage:"{number} of presences of one visitor at once" reload:"yes"`
	HistoryMessages    int      `toml:"history-messages" usage:"{number} of messages kept of each room for those who join later"`
	ChatAudience       string   `toml:"chat-audience" usage:"who hears visitors: {all}, visitors or nobody" reload:"yes"`
	ChatRate           float64  `toml:"chat-rate" usage:"{number} of messages of one visitor a second, 0 for no limit" reload:"yes"`
	ChatBurst          int      `toml:"chat-burst" usage:"{number} of messages of one visitor at once" reload:"yes"`
	RoomChatRate       float64  `toml:"room-chat-rate" usage:"{number} of messages of all visitors of a room a second, 0 for no limit" reload:"yes"`
	RoomChatBurst      int      `toml:"room-chat-burst" usage:"{number} of messages of all visitors of a room at once" reload:"yes"`
	MainRate           float64  `toml:"main-rate" usage:"{number} of stanzas of the visitors of all rooms to the main server a second, 0 for no limit" reload:"yes"`
	MainBurst          int      `toml:"main-burst" usage:"{number} of stanzas of the visitors of all rooms to the main server at once" reload:"yes"`
	ChatSlowMode       Duration `toml:"chat-slow-mode" usage:"{duration} between two messages of one visitor, such as 30s" reload:"yes"`
	MaxConnections     int      `toml:"max-connections" usage:"{number} of client connections"`
	MaxPerAddress      int      `toml:"max-connections-per-address" usage:"{number} of client connections of one address"`
	MaxJoinsPerSecond  int      `toml:"max-joins-per-second" usage:"{number} of logins let in per second at most"`

	Siblings       []string `toml:"siblings" usage:"other nodes reached through this one's http, as {vnode=address}, separated by commas"`
	TrustedProxies []string `toml:"trusted-proxies" usage:"{network}s whose X-Forwarded-For is believed, or unix"`
	HTTPOrigins    []string `toml:"http-origins" usage:"{origin}s whose pages may connect (default all)"`
	RegionHeader   string   `toml:"region-header" usage:"{header} in which the proxy names the client's region"`
	Shard          string   `toml:"shard" usage:"{name} announced as x-jitsi-shard"`

	AccountsFile      string   `toml:"accounts-file" usage:"{file} with further accounts' salted keys" reload:"yes"`
	TokenKeyFile      string   `toml:"token-key-file" usage:"{file} with the keys of tokens: PEM, or a shared secret" reload:"tokens"`
	TokenKeysURL      string   `toml:"token-keys-url" usage:"{URL} of a JWK set with the keys of tokens" reload:"tokens"`
	TokenKeyServer    string   `toml:"token-key-server" usage:"{URL} of a server with the keys of tokens, one file each" reload:"tokens"`
	TokenAlgorithms   []string `toml:"token-algorithms" usage:"signature {algorithm}s of tokens (default by the keys)" reload:"tokens"`
	TokenIssuers      []string `toml:"token-issuers" usage:"{issuer}s of tokens, or *" reload:"tokens"`
	TokenAudiences    []string `toml:"token-audiences" usage:"{audience}s of tokens, or *" reload:"tokens"`
	TokenOptional     bool     `toml:"token-optional" usage:"{true} lets visitors in without a token" reload:"tokens"`
	TokenRoomOptional bool     `toml:"token-room-optional" usage:"{true} accepts tokens without a room" reload:"tokens"`
	TokenAnyTenant    bool     `toml:"token-any-tenant" usage:"{true} accepts tokens of other tenants" reload:"tokens"`
	TokenLeeway       Duration `toml:"token-leeway" usage:"how far the issuer's clock may be off, a {duration}" reload:"tokens"`

	Comeback           string   `toml:"comeback" usage:"how the audience comes back after a fault: {reload}, silent or off"`
	ComebackWord       Duration `toml:"comeback-word" usage:"how long main's word is waited for after jicofo has left, a {duration}"`
	ComebackSettle     Duration `toml:"comeback-settle" usage:"how long after a fault pages are sent to reload, a {duration} such as 22s"`
	ComebackAsk        Duration `toml:"comeback-ask" usage:"how long after a fault the node asks jicofo itself, a {duration} such as 32s"`
	ComebackGiveUp     Duration `toml:"comeback-give-up" usage:"how long after a fault the audience is told that the conference has ended, a {duration}"`
	ComebackRate       float64  `toml:"comeback-rate" usage:"{number} of visitors that come back in a second, 0 for no limit"`
	JoinWait           Duration `toml:"join-wait" usage:"how long a visitor's join waits for its room, a {duration} such as 8s"`
	JicofoURL          string   `toml:"jicofo-url" usage:"{URL} of jicofo's REST interface, empty for none"`
	ReadyWithoutJicofo bool     `toml:"ready-without-jicofo" usage:"{false} makes a node without jicofo's login not ready" reload:"yes"`
	OtherNodes         []string `toml:"other-nodes" usage:"admin {address}es of the other nodes, asked before a drain, separated by commas" reload:"yes"`

	DrainTimeout   Duration `toml:"drain-timeout" usage:"how long conferences go on after SIGTERM, a {duration} such as 15s" reload:"yes"`
	SweepGap       Duration `toml:"sweep-gap" usage:"least {duration} between two sweeps of a room's stanzas to its visitors"`
	DrainSpread    Duration `toml:"drain-spread" usage:"over what {duration} the end spreads the closing of sessions" reload:"yes"`
	AdminTokenFile string   `toml:"admin-token-file" usage:"{file} with the operators' token (default: generated, kept in the state directory)"`
	LogLevel       string   `toml:"log-level" usage:"{level}: debug, info, warn, error" reload:"yes"`
	LogFormat      string   `toml:"log-format" usage:"{format}: text or json"`

	// FocusPassword, TURNSecret and TURNPassword are what the environment says in
	// place of files; "" for nothing.
	FocusPassword string `toml:"-"`
	TURNSecret    string `toml:"-"`
	TURNPassword  string `toml:"-"`

	// Warnings are what an operator should know of a configuration that is valid.
	Warnings []Warning `toml:"-"`

	from origins
}

// reloading says when a change of a setting takes effect.
type reloading string

const (
	atRestart  reloading = ""
	atReload   reloading = "yes"
	withTokens reloading = "tokens" // at a reload, while tokens were, and are still, asked for
)

// Reloadable returns the keys that take effect without a restart.
func Reloadable() (keys []string) {
	for _, s := range new(Config).settings() {
		if s.reload != atRestart {
			keys = append(keys, s.key)
		}
	}
	return keys
}

// Reload returns c with what a reload may change as next has it. tokens: c asks for
// tokens, and goes on to. applied are the keys that it changed, and waiting those
// whose change needs a restart.
func (c *Config) Reload(next *Config, tokens bool) (reloaded Config, applied, waiting []string) {
	reloaded = *c
	mine, theirs := reloaded.settings(), next.settings()
	for i, s := range mine {
		changed := !reflect.DeepEqual(s.value.Interface(), theirs[i].value.Interface())
		switch takes := s.reload == atReload || s.reload == withTokens && tokens; {
		case takes:
			s.value.Set(theirs[i].value)
			if changed {
				applied = append(applied, s.key)
			}
		case changed:
			waiting = append(waiting, s.key)
		}
	}
	return reloaded, applied, waiting
}

// Duration is written as Go writes it: 90s, 5m.
type Duration time.Duration

// UnmarshalText parses a duration.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("%q is not a duration such as 60s", text)
	}
	*d = Duration(v)
	return nil
}

// ID is a node's id in the form of its domain's first label: v3.
type ID string

// nodeSuffix is fixed in the browsers' and in main's code.
const nodeSuffix = ".meet.jitsi"

// Host is the domain visitors log in to, v3.meet.jitsi.
func (c *Config) Host() string { return HostOf(string(c.ID)) }

// HostOf is the domain of the node with an id.
func HostOf(id string) string { return id + nodeSuffix }

// Rooms is the domain of the node's rooms, conference.v3.meet.jitsi.
func (c *Config) Rooms() string { return c.RoomPrefix + "." + c.Host() }

// MainRooms is the domain of main's rooms, conference.meet.jitsi.
func (c *Config) MainRooms() string { return c.RoomPrefix + "." + c.MainDomain }

// number is the id as a number, for the default ports; 0 when it has none.
func (id ID) number() int {
	n, err := strconv.Atoi(strings.TrimPrefix(string(id), "v"))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// Admin values.
const adminOff = "off"

// AdminOff reports whether the admin listener is turned off.
func (c *Config) AdminOff() bool { return c.Admin == adminOff }

// Values of S2STrust.
const (
	TrustAddress     = "address"
	TrustCertificate = "certificate"
	TrustAnyone      = "anyone"
)

// complete fills in what follows from the id.
func (c *Config) complete() {
	n := c.ID.number()
	if c.Port == 0 {
		c.Port = 52690 + n
	}
	if len(c.S2S) == 0 {
		c.S2S = []string{net.JoinHostPort("", strconv.Itoa(c.Port))}
	}
	loopback := func(base int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(base+n)) }
	if len(c.C2S) == 0 {
		c.C2S = []string{loopback(52220)}
	}
	if len(c.HTTP) == 0 {
		c.HTTP = []string{loopback(52800)}
	}
	if c.Admin == "" {
		c.Admin = loopback(52600)
	}
}

// Validate reports everything that is wrong, each with what to do.
func (c *Config) Validate() error {
	var errs []error
	bad := func(key, format string, args ...any) {
		errs = append(errs, fmt.Errorf("%s: "+format, append([]any{c.from.named(key)}, args...)...))
	}
	label := func(key, s string) {
		if j, err := wire.ParseJID(s); err != nil || j.Domain != s || strings.Contains(s, ".") {
			bad(key, "%q is not a single label of a domain, such as v3", s)
		}
	}
	domain := func(key, s string) {
		if j, err := wire.ParseJID(s); err != nil || j.Domain != s {
			bad(key, "%q is not a domain in lower case, such as meet.jitsi", s)
		}
	}
	label("id", string(c.ID))
	label("room-prefix", c.RoomPrefix)
	domain("main-domain", c.MainDomain)
	domain("auth-domain", c.AuthDomain)
	for _, d := range c.ExtraDomains {
		domain("extra-domains", d)
	}
	if c.AuthDomain == c.Host() {
		bad("auth-domain", "%q is where visitors log in; the focus needs a domain of its own", c.AuthDomain)
	}
	if c.MainDomain == c.Host() {
		bad("main-domain", "%q is this node's own domain; name the main Prosody's", c.MainDomain)
	}
	if _, _, err := net.SplitHostPort(c.MainS2S); err != nil {
		bad("main-s2s", "%q is not host:port, such as 127.0.0.1:5269", c.MainS2S)
	}
	if (c.CertificateFile == "") != (c.KeyFile == "") {
		bad("certificate-file", "it and key-file go together: set both or neither")
	}
	c.validateListeners(bad)
	c.validateTrust(bad)
	if _, err := c.ExternalServices(); err != nil {
		bad("turn-services", "%v", err)
	}
	c.validateTURN(bad)
	choice := func(key, s string, of ...string) {
		if !slices.Contains(of, s) {
			bad(key, "%q is none of %s", s, strings.Join(of, ", "))
		}
	}
	choice("log-level", c.LogLevel, "debug", "info", "warn", "error")
	choice("log-format", c.LogFormat, "text", "json")
	if c.MainGrace <= 0 {
		bad("main-grace", "must be longer than nothing, such as 60s")
	}
	if c.SweepGap < 0 || c.SweepGap > Duration(time.Second) {
		bad("sweep-gap", "must be between 0s and 1s")
	}
	if c.DrainTimeout < 0 {
		bad("drain-timeout", "must not be negative; 0s ends conferences at once")
	}
	if c.DrainSpread < 0 {
		bad("drain-spread", "must not be negative; 0s closes everything at once")
	}
	c.validateComeback(bad)
	c.validateLimits(bad)
	choice("chat-audience", c.ChatAudience, "all", "visitors", "nobody")
	if c.MaxJoinsPerSecond < 10 {
		bad("max-joins-per-second", "%d is less than 10", c.MaxJoinsPerSecond)
	}
	c.validateWeb(bad)
	c.validateTokens(bad)
	return errors.Join(errs...)
}

func (c *Config) validateLimits(bad func(key, format string, args ...any)) {
	for key, n := range map[string]int{
		"max-visitors-per-room": c.MaxVisitorsPerRoom, "max-visitors": c.MaxVisitors, "max-rooms": c.MaxRooms,
		"max-connections": c.MaxConnections, "max-connections-per-address": c.MaxPerAddress,
		"chat-burst": c.ChatBurst, "room-chat-burst": c.RoomChatBurst, "presence-burst": c.PresenceBurst, "main-burst": c.MainBurst,
	} {
		if n < 1 {
			bad(key, "%d is less than 1", n)
		}
	}
	for key, r := range map[string]float64{
		"join-rate": c.JoinRate, "leave-rate": c.LeaveRate, "presence-rate": c.PresenceRate, "chat-rate": c.ChatRate, "room-chat-rate": c.RoomChatRate,
		"main-rate": c.MainRate,
	} {
		if !(r >= 0 && r <= 1e9) {
			bad(key, "%v is not a number a second, such as 2 or 0.5; 0 means no limit", r)
		}
	}
	if c.HistoryMessages < 0 {
		bad("history-messages", "%d is less than 0, which keeps none", c.HistoryMessages)
	}
	if c.ChatSlowMode < 0 {
		bad("chat-slow-mode", "is less than nothing; 0s turns it off")
	}
}

func (c *Config) validateListeners(bad func(key, format string, args ...any)) {
	if c.Port < 0 || c.Port > 65535 {
		bad("port", "%d is not a port", c.Port)
		return // s2s follows from it: one mistake, one line
	}
	for key, list := range map[string][]string{"s2s": c.S2S, "c2s": c.C2S, "http": c.HTTP, "https": c.HTTPS, "admin": {c.Admin}} {
		for _, a := range list {
			if key == "admin" && a == adminOff {
				continue
			}
			if path, ok := strings.CutPrefix(a, unixPrefix); ok && key == "http" && path != "" {
				if err := socketPath(path); err != nil {
					bad(key, "%v", err)
				}
				continue
			}
			if _, port, err := net.SplitHostPort(a); err != nil {
				bad(key, "%q is not host:port, such as 127.0.0.1:52803", a)
			} else if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
				bad(key, "%q has no port between 0 and 65535", a)
			}
		}
	}
}

func (c *Config) validateTrust(bad func(key, format string, args ...any)) {
	switch c.S2STrust {
	case TrustAddress, TrustCertificate, TrustAnyone:
	default:
		bad("s2s-trust", "%q is none of address, certificate, anyone", c.S2STrust)
	}
	if _, err := c.TrustedAddresses(); err != nil {
		bad("s2s-trusted-addresses", "%v", err)
	}
}

// TrustedAddresses parses S2STrustedAddresses, addresses or networks.
func (c *Config) TrustedAddresses() ([]netip.Prefix, error) { return networks(c.S2STrustedAddresses) }

func networks(texts []string) ([]netip.Prefix, error) {
	var list []netip.Prefix
	for _, s := range texts {
		if inner, ok := strings.CutPrefix(s, "["); ok {
			s = strings.Replace(inner, "]", "", 1)
		}
		if a, err := netip.ParseAddr(s); err == nil {
			list = append(list, netip.PrefixFrom(a, a.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("%q is neither an address nor a network such as 10.0.0.0/24", s)
		}
		list = append(list, p)
	}
	return list, nil
}

const unixPrefix = "unix:"

// Network splits an address of C2S, HTTP or S2S into what [net.Listen] takes.
func Network(address string) (network, addr string) {
	if path, ok := strings.CutPrefix(address, unixPrefix); ok {
		return "unix", path
	}
	return "tcp", address
}

// socketPath tells of a path that is too long for a socket, which the system
// only calls an invalid argument.
func socketPath(path string) error {
	const most = len(syscall.RawSockaddrUnix{}.Path) - 1 // its end is a NUL
	if len(path) > most {
		return fmt.Errorf("the path %q has %d bytes; that of a socket has at most %d", path, len(path), most)
	}
	return nil
}

// Level is LogLevel for slog.
func (c *Config) Level() slog.Level {
	var l slog.Level
	_ = l.UnmarshalText([]byte(c.LogLevel)) // Validate has seen it
	return l
}
