package config

import (
	"maps"
	"slices"
	"strings"
)

// treatment says what becomes of a variable of docker-jitsi-meet.
type treatment int

const (
	honoured  treatment = iota // it stands for a key of ours, or is part of one
	judged                     // refused, by its own name, where a node cannot do what it asks
	warnedOn                   // warned about when it is set to anything but no
	warnedOff                  // warned about when it is set to no
	elsewhere                  // what it changes is not at a visitor prosody
)

// variable is one of docker-jitsi-meet's that reach a visitor prosody, or that
// concern visitors at its jicofo and web services.
type variable struct {
	treatment treatment
	why       string // the text of a warning; else for the reader of this table
}

// dockerVariables are all of them, as of 2026-08-20. A test compares the names
// with those of that day's files.
var dockerVariables = func() map[string]variable {
	all := make(map[string]variable)
	add := func(t treatment, why string, names ...string) {
		for _, n := range names {
			all[n] = variable{t, why}
		}
	}
	for _, names := range dockerNames {
		add(honoured, "", names...)
	}
	for _, names := range dockerComposed {
		add(honoured, "", names...)
	}
	for _, name := range dockerSecrets {
		add(honoured, "", name)
	}
	add(honoured, "decides which domains of the main server take part",
		"ENABLE_AUTH", "ENABLE_GUESTS", "ENABLE_RECORDING", "ENABLE_TRANSCRIPTIONS")
	add(honoured, "whether listeners are on IPv6 too", "ENABLE_IPV6")
	add(honoured, "says that this is the place of a visitor prosody", "PROSODY_MODE")
	add(honoured, "the times in the log", "TZ")
	add(judged, "browsers know one value alone", "VISITORS_XMPP_DOMAIN")
	add(judged, "the main server's rooms are at the same first label", "XMPP_MUC_DOMAIN")

	add(warnedOff, "is not honoured: the node serves WebSocket and BOSH", "ENABLE_XMPP_WEBSOCKET")
	add(warnedOff, "is not honoured: the node understands tenants", "ENABLE_SUBDOMAINS")
	add(warnedOff, "is not honoured: the node encrypts client TCP wherever the client can", "PROSODY_C2S_REQUIRE_ENCRYPTION")
	add(warnedOn, "is not honoured: the node passes on polls that the main server tells it of", "DISABLE_POLLS")
	add(warnedOn, "is not honoured: metrics are at the admin address; set VNODE_ADMIN=0.0.0.0:52600 to have them read from another container",
		"PROSODY_ENABLE_METRICS", "PROSODY_METRICS_ALLOWED_CIDR")
	add(warnedOn, "is not honoured: stanzas are counted in the metrics at the admin address", "PROSODY_ENABLE_STANZA_COUNTS")
	const rates = "is not honoured: the node's own limits are max-joins-per-second, join-rate and max-connections-per-address, " +
		"with trusted-proxies (PROSODY_TRUSTED_PROXIES)"
	add(warnedOn, rates, "PROSODY_ENABLE_RATE_LIMITS", "PROSODY_RATE_LIMIT_ALLOW_RANGES", "PROSODY_RATE_LIMIT_CACHE_SIZE",
		"PROSODY_RATE_LIMIT_LOGIN_RATE", "PROSODY_RATE_LIMIT_SESSION_RATE", "PROSODY_RATE_LIMIT_TIMEOUT")
	add(warnedOn, "is not honoured: the node bounds what a client sends by itself", "PROSODY_C2S_LIMIT", "PROSODY_S2S_LIMIT",
		"PROSODY_DISABLE_C2S_LIMIT", "PROSODY_DISABLE_S2S_LIMIT")
	add(warnedOn, "is not honoured: chat-rate and room-chat-rate bound what visitors say", "PROSODY_LIMIT_MESSAGES_CHECK_TOKEN")
	add(warnedOn, "is not honoured: a node runs no modules of Prosody", "XMPP_MODULES", "XMPP_MUC_MODULES", "GLOBAL_MODULES")
	add(warnedOn, "is not honoured: a node reads no configuration of Prosody", "XMPP_CONFIGURATION", "XMPP_MUC_CONFIGURATION", "GLOBAL_CONFIG")
	add(warnedOn, "is not honoured: the log goes to the standard error; see log-level and log-format", "PROSODY_LOG_CONFIG")
	add(warnedOn, "is not announced to clients", "PROSODY_REGION_NAME", "RELEASE_NUMBER")

	add(elsewhere, "visitors log in anonymously at a visitor prosody; the main server reads it",
		"AUTH_TYPE", "JWT_ACCEPTED_ALLOWNER_ISSUERS", "JWT_ACCEPTED_AUDIENCES", "JWT_ACCEPTED_ISSUERS", "JWT_ALLOW_EMPTY", "JWT_APP_ID",
		"JWT_APP_SECRET", "JWT_ASAP_KEYSERVER", "JWT_AUTH_TYPE", "JWT_ENABLE_DOMAIN_VERIFICATION", "JWT_SIGN_TYPE", "JWT_TOKEN_AUTH_MODULE",
		"LDAP_AUTH_METHOD", "LDAP_BASE", "LDAP_BINDDN", "LDAP_BINDPW", "LDAP_FILTER", "LDAP_START_TLS", "LDAP_TLS_CACERT_DIR",
		"LDAP_TLS_CACERT_FILE", "LDAP_TLS_CHECK_PEER", "LDAP_TLS_CIPHERS", "LDAP_URL", "LDAP_USE_TLS", "LDAP_VERSION",
		"MATRIX_LOBBY_BYPASS", "MATRIX_UVS_AUTH_TOKEN", "MATRIX_UVS_ISSUER", "MATRIX_UVS_SYNC_POWER_LEVELS", "MATRIX_UVS_URL",
		"PROSODY_AUTH_TYPE", "PROSODY_GUEST_AUTH_TYPE")
	add(elsewhere, "a part of the main server",
		"ENABLE_AUDIO_TRANSLATION", "ENABLE_AV_MODERATION", "ENABLE_BREAKOUT_ROOMS", "ENABLE_END_CONFERENCE", "ENABLE_JAAS_COMPONENTS",
		"ENABLE_JVB_XMPP_SERVER", "ENABLE_LOBBY", "MAX_PARTICIPANTS", "PROSODY_ENABLE_FILTER_MESSAGES",
		"PROSODY_ENABLE_MUC_RESOURCE_VALIDATE", "PROSODY_ENABLE_RECORDING_METADATA", "PROSODY_MUC_RESOURCE_VALIDATE_ANONYMOUS_STRICT",
		"PROSODY_MUC_RESOURCE_VALIDATE_ANON_METHODS", "PROSODY_RESERVATION_ENABLED", "PROSODY_RESERVATION_REST_BASE_URL", "PUBLIC_URL",
		"WAIT_FOR_HOST_DISABLE_AUTO_OWNERS", "XMPP_BREAKOUT_MUC_MODULES", "XMPP_INTERNAL_MUC_DOMAIN", "XMPP_INTERNAL_MUC_MODULES",
		"XMPP_LOBBY_MUC_MODULES", "XMPP_SPEAKERSTATS_MODULES")
	add(elsewhere, "accounts of other programs, which log in at the main server",
		"JIBRI_RECORDER_PASSWORD", "JIBRI_RECORDER_USER", "JIBRI_SIP_BREWERY_MUC", "JIBRI_XMPP_PASSWORD", "JIBRI_XMPP_USER",
		"JICOFO_COMPONENT_SECRET", "JIGASI_TRANSCRIBER_PASSWORD", "JIGASI_TRANSCRIBER_USER", "JIGASI_XMPP_PASSWORD", "JIGASI_XMPP_USER",
		"JVB_AUTH_PASSWORD", "JVB_AUTH_USER", "JVB_BREWERY_MUC", "JVB_XMPP_AUTH_DOMAIN", "JVB_XMPP_INTERNAL_MUC_DOMAIN",
		"JVB_XMPP_PORT", "JVB_XMPP_SERVER")
	add(elsewhere, "settings of Lua", "GC_GEN_MAX_TH", "GC_GEN_MIN_TH", "GC_INC_SPEED", "GC_INC_STEP_SIZE", "GC_INC_TH", "GC_TYPE")
	add(elsewhere, "the visitors' mode sets it by itself", "ENABLE_S2S", "ENABLE_VISITORS", "PROSODY_ADMINS", "PROSODY_ENABLE_S2S")
	add(elsewhere, "where the main server finds the nodes", "VISITORS_XMPP_PORT", "VISITORS_XMPP_SERVER")
	add(elsewhere, "jicofo reads it", "JICOFO_AUTH_LIFETIME", "JICOFO_AUTH_TYPE", "JICOFO_BRIDGE_REGION_GROUPS", "JICOFO_ENABLE_REST",
		"JICOFO_OCTO_REGION", "JICOFO_VISITORS_REQUIRE_MUC_CONFIG", "OCTO_BRIDGE_SELECTION_STRATEGY", "VISITORS_MAX_PARTICIPANTS")
	add(elsewhere, "the web page and its proxy read it", "BOSH_RELATIVE", "DEPLOYMENTINFO_REGION", "DEPLOYMENTINFO_SHARD", "XMPP_BOSH_URL_BASE")
	return all
}()

// warnings are about what is set and not honoured.
func (e environment) warnings() []Warning {
	if !e.ofJitsi() {
		return nil
	}
	var list []Warning
	for _, name := range slices.Sorted(maps.Keys(dockerVariables)) {
		switch v := dockerVariables[name]; {
		case v.treatment == warnedOn && e.get(name, "") != "" && !e.no(name),
			v.treatment == warnedOff && e.no(name):
			list = append(list, Warning{name, v.why})
		}
	}
	if d := strings.ToLower(e.get("XMPP_DOMAIN", "meet.jitsi")); e.inContainer() && d != "meet.jitsi" && e.get("XMPP_MUC_DOMAIN", "") == "" {
		list = append(list, Warning{"XMPP_MUC_DOMAIN", "is not set, and docker-jitsi-meet's default for it is muc.meet.jitsi, which is not below XMPP_DOMAIN; " +
			"the node looks for the main server's rooms below " + d + ": set it for all containers"})
	}
	return list
}

// no reports whether a variable is set to a word for no.
func (e environment) no(name string) bool {
	switch strings.ToLower(e.get(name, "")) {
	case "0", "f", "false", "n", "no", "off":
		return true
	}
	return false
}
