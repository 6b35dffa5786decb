package config

import (
	"fmt"
	"net"
	"strings"
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
}

// dockerComposed are the keys that are put together of several variables.
var dockerComposed = map[string][]string{
	"main-s2s":      {"XMPP_SERVER", "XMPP_SERVER_S2S_PORT"},
	"s2s":           {"PROSODY_S2S_PORT"},
	"c2s":           {"XMPP_PORT"},
	"http":          {"PROSODY_HTTP_PORT"},
	"extra-domains": {"XMPP_GUEST_DOMAIN", "XMPP_HIDDEN_DOMAIN", "PROSODY_VISITORS_S2S_VHOSTS"},
	"turn-services": {"STUN_HOST", "STUN_PORT", "TURN_HOST", "TURN_PORT", "TURN_TRANSPORT", "TURNS_HOST", "TURNS_PORT"},
}

// dockerSecrets are the variables that hold what we otherwise read from files.
var dockerSecrets = map[string]string{"focus-password-file": "JICOFO_AUTH_PASSWORD", "turn-secret-file": "TURN_CREDENTIALS"}

// environment is where variables are looked up.
type environment func(string) (string, bool)

// get returns a variable, or a default where it is unset or empty.
func (e environment) get(name, otherwise string) string {
	if v, ok := e(name); ok && v != "" {
		return v
	}
	return otherwise
}

// on reports whether a variable is one of docker-jitsi-meet's words for yes.
func (e environment) on(name string) bool {
	switch strings.ToLower(e.get(name, "")) {
	case "1", "true", "yes", "on":
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
			if v := e.get(n, ""); v != "" {
				values[key] = v
				break
			}
		}
	}
	server, port := "", "5269"
	if e.inContainer() {
		server = "xmpp.meet.jitsi"
		e.containerDefaults(values)
	}
	if server = e.get("XMPP_SERVER", server); server != "" {
		port = e.get("XMPP_SERVER_S2S_PORT", e.get("PROSODY_S2S_PORT", port))
		values["main-s2s"] = net.JoinHostPort(server, port)
	}
	if extra := e.extraDomains(); len(extra) > 0 {
		values["extra-domains"] = strings.Join(extra, ",")
	}
	if turn := e.turnServices(); len(turn) > 0 {
		values["turn-services"] = strings.Join(turn, ",")
	}
	return values, e.unfit(values)
}

func (e environment) containerDefaults(values map[string]string) {
	all := func(port string) string { return net.JoinHostPort("", port) }
	values["s2s"] = all(e.get("PROSODY_S2S_PORT", "5269"))
	values["c2s"] = all(e.get("XMPP_PORT", "5222"))
	values["http"] = all(e.get("PROSODY_HTTP_PORT", "5280"))
	for key, v := range map[string]string{"id": "0", "room-prefix": "muc", "max-visitors-per-room": "250"} {
		if values[key] == "" {
			values[key] = v
		}
	}
}

func (e environment) extraDomains() []string {
	var list []string
	if e.on("ENABLE_AUTH") && e.on("ENABLE_GUESTS") {
		list = append(list, e.get("XMPP_GUEST_DOMAIN", "guest.meet.jitsi"))
	}
	if e.on("ENABLE_RECORDING") || e.on("ENABLE_TRANSCRIPTIONS") {
		list = append(list, e.get("XMPP_HIDDEN_DOMAIN", "hidden.meet.jitsi"))
	}
	return append(list, e.list("PROSODY_VISITORS_S2S_VHOSTS")...)
}

func (e environment) turnServices() []string {
	var list []string
	if host := e.get("STUN_HOST", ""); host != "" {
		list = append(list, "stun:"+net.JoinHostPort(host, e.get("STUN_PORT", "443")))
	}
	transports := e.list("TURN_TRANSPORT")
	if transports == nil {
		transports = []string{"tcp"}
	}
	for _, host := range e.list("TURN_HOST") {
		for _, t := range transports {
			list = append(list, "turn:"+net.JoinHostPort(host, e.get("TURN_PORT", "443"))+"?transport="+t)
		}
	}
	for _, host := range e.list("TURNS_HOST") {
		list = append(list, "turns:"+net.JoinHostPort(host, e.get("TURNS_PORT", "443"))+"?transport=tcp")
	}
	return list
}

// unfit reports what a visitor prosody could be told and a node cannot.
func (e environment) unfit(values map[string]string) error {
	const suffix = "meet.jitsi"
	if d := e.get("VISITORS_XMPP_DOMAIN", suffix); d != suffix {
		return fmt.Errorf("VISITORS_XMPP_DOMAIN: %q; browsers look for nodes under %s, whatever is set here", d, suffix)
	}
	prefix := values["room-prefix"]
	if muc := e.get("XMPP_MUC_DOMAIN", ""); muc != "" && prefix != "" {
		if first, _, _ := strings.Cut(muc, "."); first != prefix {
			return fmt.Errorf("XMPP_MUC_DOMAIN: %q begins with %q, but rooms of visitors with %q (PROSODY_VISITORS_MUC_PREFIX); they must begin alike",
				muc, first, prefix)
		}
	}
	if e.get("TURN_USERNAME", "") != "" {
		return fmt.Errorf("TURN_USERNAME: fixed credentials for TURN are not passed on; give the servers' shared secret as TURN_CREDENTIALS")
	}
	return nil
}
