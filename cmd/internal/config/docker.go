package config

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// docker-jitsi-meet configures its visitor prosodies by environment variables.
// A node takes the same ones, so that it can take a container's place: each
// stands for a key of ours, and what is ours, VNODE_…, wins.

// dockerNames are the variables taken as they are, by the key they stand for;
// of several, the first that is set.
var dockerNames = map[string][]string{
	"id":                    {"PROSODY_VISITOR_INDEX"},
	"main-domain":           {"XMPP_DOMAIN"},
	"room-prefix":           {"PROSODY_VISITORS_MUC_PREFIX"},
	"auth-domain":           {"VISITORS_XMPP_AUTH_DOMAIN", "XMPP_AUTH_DOMAIN"},
	"max-visitors-per-room": {"VISITORS_MAX_VISITORS_PER_NODE"},
	"log-level":             {"LOG_LEVEL"},
	"shard":                 {"SHARD"},
	"turn-username":         {"TURN_USERNAME"},
}

// dockerComposed are the keys that are put together of several variables.
var dockerComposed = map[string][]string{
	"main-s2s":        {"XMPP_SERVER", "XMPP_SERVER_S2S_PORT"},
	"s2s":             {"PROSODY_S2S_PORT"},
	"c2s":             {"XMPP_PORT"},
	"http":            {"PROSODY_HTTP_PORT"},
	"extra-domains":   {"XMPP_GUEST_DOMAIN", "XMPP_HIDDEN_DOMAIN", "XMPP_RECORDER_DOMAIN", "PROSODY_VISITORS_S2S_VHOSTS"},
	"trusted-proxies": {"PROSODY_TRUSTED_PROXIES"},
	"turn-ttl":        {"TURN_TTL"},
	"turn-services":   {"STUN_HOST", "STUN_PORT", "TURN_HOST", "TURN_PORT", "TURN_TRANSPORT", "TURNS_HOST", "TURNS_PORT"},
}

// dockerSecrets are the variables that hold what we otherwise read from files.
var dockerSecrets = map[string]string{
	"focus-password-file": "JICOFO_AUTH_PASSWORD", "turn-secret-file": "TURN_CREDENTIALS", "turn-password-file": "TURN_PASSWORD",
}

// environment is where variables are looked up.
type environment func(string) (string, bool)

// get returns a variable, or a default where it is unset or empty.
func (e environment) get(name, otherwise string) string {
	if v, ok := e(name); ok && v != "" {
		return v
	}
	return otherwise
}

// setOf returns those of the names that are set, separated by commas; in their place
// the word for the defaults of docker-jitsi-meet where none is.
func (e environment) setOf(names []string) string {
	set := slices.DeleteFunc(slices.Clone(names), func(name string) bool { return e.get(name, "") == "" })
	if len(set) == 0 {
		return "docker-jitsi-meet's default"
	}
	return strings.Join(set, ", ")
}

// on reports whether a variable is one of docker-jitsi-meet's words for yes.
func (e environment) on(name string) bool {
	switch strings.ToLower(e.get(name, "")) {
	case "1", "t", "true", "y", "yes", "on":
		return true
	}
	return false
}

func (e environment) list(name string) []string {
	var list []string
	for part := range strings.SplitSeq(e.get(name, ""), ",") {
		if part = strings.TrimSpace(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// inContainer reports whether we stand where a visitor prosody's container
// stood: only then do its defaults hold too, ports and names of the compose
// network.
func (e environment) inContainer() bool { return e.get("PROSODY_MODE", "") == "visitors" }

// ofJitsi reports whether the environment is one of docker-jitsi-meet's: some of
// its names, such as LOG_LEVEL, are anybody's.
func (e environment) ofJitsi() bool {
	for _, name := range []string{"PROSODY_MODE", "PROSODY_VISITOR_INDEX", "XMPP_DOMAIN", "XMPP_SERVER", "JICOFO_AUTH_PASSWORD"} {
		if e.get(name, "") != "" {
			return true
		}
	}
	return false
}

// secret returns what the environment holds in place of a key's file.
func (e environment) secret(key string) string {
	if !e.ofJitsi() {
		return ""
	}
	return e.get(dockerSecrets[key], "")
}

// docker returns the values of keys that docker-jitsi-meet's variables ask for,
// as flags would have them.
func (e environment) docker() (map[string]string, error) {
	if !e.ofJitsi() {
		return nil, nil
	}
	values := make(map[string]string)
	for key, names := range dockerNames {
		for _, n := range names {
			if v := strings.TrimSpace(e.get(n, "")); v != "" {
				values[key] = v
				break
			}
		}
	}
	for _, key := range []string{"main-domain", "room-prefix", "auth-domain", "log-level"} { // to Prosody they are the same in capitals
		if v, ok := values[key]; ok {
			values[key] = strings.ToLower(v)
		}
	}
	if e.inContainer() {
		if err := e.containerDefaults(values); err != nil {
			return nil, err
		}
	}
	for _, compose := range []func(map[string]string) error{e.mainServer, e.turnServices, e.turnTTL} {
		if err := compose(values); err != nil {
			return nil, err
		}
	}
	if extra := e.extraDomains(); len(extra) > 0 {
		values["extra-domains"] = strings.Join(extra, ",")
	}
	if proxies := e.list("PROSODY_TRUSTED_PROXIES"); len(proxies) > 0 {
		if _, err := networks(proxies); err != nil {
			return nil, named("PROSODY_TRUSTED_PROXIES", err)
		}
		values["trusted-proxies"] = strings.Join(proxies, ",")
	}
	return values, e.unfit(values)
}

// mainServer says where the main server is dialed.
func (e environment) mainServer(values map[string]string) error {
	otherwise := ""
	if e.inContainer() {
		otherwise = "xmpp.meet.jitsi"
	}
	server := e.get("XMPP_SERVER", otherwise)
	if server == "" {
		return nil
	}
	port, err := e.port("PROSODY_S2S_PORT", "5269")
	if err != nil {
		return err
	}
	if port, err = e.port("XMPP_SERVER_S2S_PORT", port); err != nil {
		return err
	}
	values["main-s2s"], err = hostPort(server, port)
	return named("XMPP_SERVER", err)
}

// containerDefaults are the listeners of the container that is replaced.
func (e environment) containerDefaults(values map[string]string) error {
	host := ""
	if e.no("ENABLE_IPV6") {
		host = "0.0.0.0"
	}
	for key, listener := range map[string]struct{ name, port string }{
		"s2s": {"PROSODY_S2S_PORT", "5269"}, "c2s": {"XMPP_PORT", "5222"}, "http": {"PROSODY_HTTP_PORT", "5280"},
	} {
		port, err := e.port(listener.name, listener.port)
		if err != nil {
			return err
		}
		values[key] = net.JoinHostPort(host, port)
	}
	for key, v := range map[string]string{"id": "0", "room-prefix": "muc", "max-visitors-per-room": "250"} {
		if values[key] == "" {
			values[key] = v
		}
	}
	return nil
}

func (e environment) extraDomains() []string {
	var list []string
	if e.on("ENABLE_AUTH") && e.on("ENABLE_GUESTS") {
		list = append(list, e.get("XMPP_GUEST_DOMAIN", "guest.meet.jitsi"))
	}
	if e.on("ENABLE_RECORDING") || e.on("ENABLE_TRANSCRIPTIONS") {
		list = append(list, e.get("XMPP_HIDDEN_DOMAIN", e.get("XMPP_RECORDER_DOMAIN", "hidden.meet.jitsi")))
	}
	list = append(list, e.list("PROSODY_VISITORS_S2S_VHOSTS")...)
	for i, domain := range list {
		list[i] = strings.ToLower(strings.TrimSpace(domain))
	}
	return list
}

// turnServices makes the URIs of the STUN and TURN servers.
func (e environment) turnServices(values map[string]string) error {
	var list []string
	add := func(scheme, query string, names ...string) error {
		port, err := e.port(names[1], "443")
		if err != nil {
			return err
		}
		for _, host := range e.list(names[0]) {
			r := relayOf(host, scheme, query)
			addr, err := hostPort(r.host, port)
			if err != nil {
				return named(names[0], err)
			}
			if uri := r.scheme + ":" + addr + r.query; !slices.Contains(list, uri) {
				list = append(list, uri)
			}
		}
		return nil
	}
	transports := e.list("TURN_TRANSPORT")
	if transports == nil {
		transports = []string{"tcp"}
	}
	for i, t := range transports {
		if transports[i] = strings.ToLower(t); transports[i] != "tcp" && transports[i] != "udp" {
			return fmt.Errorf("TURN_TRANSPORT: %q is neither udp nor tcp (for TLS there is TURNS_HOST)", t)
		}
	}
	err := add("stun", "", "STUN_HOST", "STUN_PORT")
	turn := len(list)
	for _, t := range transports {
		if err == nil {
			err = add("turn", "?transport="+t, "TURN_HOST", "TURN_PORT")
		}
	}
	if err == nil {
		err = add("turns", "?transport=tcp", "TURNS_HOST", "TURNS_PORT")
	}
	if err != nil {
		return err
	}
	slices.SortStableFunc(list[turn:], func(a, b string) int {
		first := func(s string) string { s, _, _ = strings.Cut(s, "?"); return s }
		return strings.Compare(first(a), first(b))
	})
	if len(list) > 0 {
		values["turn-services"] = strings.Join(list, ",")
	}
	return nil
}

// turnTTL is in seconds there.
func (e environment) turnTTL(values map[string]string) error {
	v := e.get("TURN_TTL", "")
	if v == "" {
		return nil
	}
	seconds, err := strconv.ParseUint(v, 10, 31)
	if err != nil {
		return fmt.Errorf("TURN_TTL: %q is not a number of seconds, such as 86400", v)
	}
	values["turn-ttl"] = (time.Duration(seconds) * time.Second).String()
	return nil
}

// unfit reports what a visitor prosody could be told and a node cannot.
func (e environment) unfit(values map[string]string) error {
	if v := e.get("PROSODY_VISITOR_INDEX", "0"); !isIndex(v) {
		return fmt.Errorf("PROSODY_VISITOR_INDEX: %q is not the number of a visitor node, such as 0", v)
	}
	const suffix = "meet.jitsi"
	if d := e.get("VISITORS_XMPP_DOMAIN", suffix); d != suffix {
		return fmt.Errorf("VISITORS_XMPP_DOMAIN: %q; browsers look for nodes under %s, whatever is set here", d, suffix)
	}
	if v, ok := e("JICOFO_AUTH_PASSWORD"); ok && v == "" && e.inContainer() && e.get(EnvName("focus-password-file"), "") == "" {
		return fmt.Errorf("JICOFO_AUTH_PASSWORD is empty; set it to the password that jicofo has")
	}
	if e.get("TURN_CREDENTIALS", "") == "" && (e.get("TURN_USERNAME", "") == "") != (e.get("TURN_PASSWORD", "") == "") {
		return fmt.Errorf("TURN_USERNAME and TURN_PASSWORD go together; set both, or neither")
	}
	return e.unfitRooms(values["room-prefix"])
}

// isIndex reports whether a text is the number of a node, or its name v3.
func isIndex(text string) bool {
	_, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(text), "v"), 10, 16)
	return err == nil
}

// unfitRooms compares the names of rooms here and on the main server: both begin
// with the same label, and go on with the servers' domains.
func (e environment) unfitRooms(prefix string) error {
	muc := e.get("XMPP_MUC_DOMAIN", "")
	if muc == "" || prefix == "" {
		return nil
	}
	first, rest, _ := strings.Cut(strings.ToLower(muc), ".")
	if first != prefix {
		return fmt.Errorf("XMPP_MUC_DOMAIN: %q begins with %q, but rooms of visitors with %q (PROSODY_VISITORS_MUC_PREFIX); they must begin alike",
			muc, first, prefix)
	}
	if d := strings.ToLower(e.get("XMPP_DOMAIN", "meet.jitsi")); rest != d {
		return fmt.Errorf("XMPP_MUC_DOMAIN: %q is not below XMPP_DOMAIN %q; a node looks for the main server's rooms at %s.%s", muc, d, first, d)
	}
	return nil
}
