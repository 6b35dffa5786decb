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
type Config struct {
	ID       ID     `toml:"id"`
	StateDir string `toml:"state-dir"`

	CertificateFile string `toml:"certificate-file"`
	KeyFile         string `toml:"key-file"`

	MainDomain          string   `toml:"main-domain"`
	MainS2S             string   `toml:"main-s2s"`
	RoomPrefix          string   `toml:"room-prefix"`
	ExtraDomains        []string `toml:"extra-domains"`
	MainGrace           Duration `toml:"main-grace"`
	MainWithoutConnect  bool     `toml:"main-without-connect"`
	TokenPromotion      bool     `toml:"token-promotion"`
	S2STrust            string   `toml:"s2s-trust"`
	S2STrustedAddresses []string `toml:"s2s-trusted-addresses"`
	S2SCAFile           string   `toml:"s2s-ca-file"`
	S2SPins             []string `toml:"s2s-pins"`

	Port  int      `toml:"port"`
	S2S   []string `toml:"s2s"`
	C2S   []string `toml:"c2s"`
	HTTP  []string `toml:"http"`
	HTTPS []string `toml:"https"`
	Admin string   `toml:"admin"`

	Siblings       []string `toml:"siblings"`
	TrustedProxies []string `toml:"trusted-proxies"`
	HTTPOrigins    []string `toml:"http-origins"`
	RegionHeader   string   `toml:"region-header"`
	Shard          string   `toml:"shard"`

	AuthDomain        string `toml:"auth-domain"`
	FocusPasswordFile string `toml:"focus-password-file"`
	AccountsFile      string `toml:"accounts-file"`

	TokenKeyFile      string   `toml:"token-key-file"`
	TokenKeysURL      string   `toml:"token-keys-url"`
	TokenKeyServer    string   `toml:"token-key-server"`
	TokenAlgorithms   []string `toml:"token-algorithms"`
	TokenIssuers      []string `toml:"token-issuers"`
	TokenAudiences    []string `toml:"token-audiences"`
	TokenOptional     bool     `toml:"token-optional"`
	TokenRoomOptional bool     `toml:"token-room-optional"`
	TokenAnyTenant    bool     `toml:"token-any-tenant"`
	TokenLeeway       Duration `toml:"token-leeway"`

	TURNServices   []string `toml:"turn-services"`
	TURNSecretFile string   `toml:"turn-secret-file"`

	TURNUsername     string   `toml:"turn-username"`
	TURNPasswordFile string   `toml:"turn-password-file"`
	TURNTTL          Duration `toml:"turn-ttl"`

	MaxVisitorsPerRoom int     `toml:"max-visitors-per-room"`
	MaxVisitors        int     `toml:"max-visitors"`
	MaxRooms           int     `toml:"max-rooms"`
	JoinRate           float64 `toml:"join-rate"`
	LeaveRate          float64 `toml:"leave-rate"`
	PresenceRate       float64 `toml:"presence-rate"`
	PresenceBurst      int     `toml:"presence-burst"`
	MaxConnections     int     `toml:"max-connections"`
	MaxPerAddress      int     `toml:"max-connections-per-address"`
	MaxJoinsPerSecond  int     `toml:"max-joins-per-second"`

	HistoryMessages int `toml:"history-messages"`

	ChatAudience  string   `toml:"chat-audience"`
	ChatRate      float64  `toml:"chat-rate"`
	ChatBurst     int      `toml:"chat-burst"`
	RoomChatRate  float64  `toml:"room-chat-rate"`
	RoomChatBurst int      `toml:"room-chat-burst"`
	ChatSlowMode  Duration `toml:"chat-slow-mode"`
	MainRate      float64  `toml:"main-rate"`
	MainBurst     int      `toml:"main-burst"`

	SweepGap Duration `toml:"sweep-gap"`

	Comeback           string   `toml:"comeback"`
	ComebackWord       Duration `toml:"comeback-word"`
	ComebackSettle     Duration `toml:"comeback-settle"`
	ComebackAsk        Duration `toml:"comeback-ask"`
	ComebackGiveUp     Duration `toml:"comeback-give-up"`
	ComebackRate       float64  `toml:"comeback-rate"`
	JoinWait           Duration `toml:"join-wait"`
	JicofoURL          string   `toml:"jicofo-url"`
	ReadyWithoutJicofo bool     `toml:"ready-without-jicofo"`
	OtherNodes         []string `toml:"other-nodes"`

	DrainTimeout Duration `toml:"drain-timeout"`
	DrainSpread  Duration `toml:"drain-spread"`

	AdminTokenFile string `toml:"admin-token-file"`

	// FocusPassword, TURNSecret and TURNPassword are what the environment says in
	// place of files; "" for nothing.
	FocusPassword string `toml:"-"`
	TURNSecret    string `toml:"-"`
	TURNPassword  string `toml:"-"`

	// Warnings are what an operator should know of a configuration that is valid.
	Warnings []Warning `toml:"-"`

	LogLevel  string `toml:"log-level"`
	LogFormat string `toml:"log-format"`

	from origins
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

// Changed returns the keys whose values differ between c and other.
func (c *Config) Changed(other *Config) []string {
	var keys []string
	theirs := other.settings()
	for i, s := range c.settings() {
		if !reflect.DeepEqual(s.value.Interface(), theirs[i].value.Interface()) {
			keys = append(keys, s.key)
		}
	}
	return keys
}

// Level is LogLevel for slog.
func (c *Config) Level() slog.Level {
	var l slog.Level
	_ = l.UnmarshalText([]byte(c.LogLevel)) // Validate has seen it
	return l
}
