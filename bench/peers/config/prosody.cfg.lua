-- A plain MUC server for one room of many read-only visitors, WebSocket only.
daemonize = false
run_as_root = true
pidfile = {{.Dir | lua}} .. "/prosody.pid"
data_path = {{.Dir | lua}}
log = { warn = "*console" }

interfaces = { "127.0.0.1" }
http_interfaces = { "127.0.0.1" }
http_ports = { {{.Port}} }
https_ports = {}
c2s_ports = {}
c2s_direct_tls_ports = {}
s2s_ports = {}
s2s_direct_tls_ports = {}
component_ports = {}
admin_socket = {{.Dir | lua}} .. "/admin.sock"
network_backend = "epoll"
network_settings = { tcp_backlog = 511 }
storage = "memory"
statistics = false
{{- if .JitsiGC}}

-- What docker-jitsi-meet sets: a quarter of the CPU time of the default, and
-- three times its memory.
gc = { mode = "incremental", threshold = 400, speed = 250, step_size = 13 }
{{- end}}

modules_enabled = { "saslauth", "disco", "posix", "ping", "websocket", "smacks" }
modules_disabled = { "s2s", "offline", "tls", "admin_shell", "register" }
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
consider_websocket_secure = true
cross_domain_websocket = true
http_default_host = {{.Domain | lua}}

-- As Jitsi has them: Prosody asks for an acknowledgement every five stanzas.
smacks_max_unacked_stanzas = 5
smacks_hibernation_time = 60
smacks_max_old_sessions = 1

VirtualHost {{.Domain | lua}}
	authentication = "anonymous"
	anonymous_jid = true

Component {{.Rooms | lua}} "muc"
	storage = "memory"
	restrict_room_creation = false
	muc_room_locking = false
	muc_tombstones = false
	muc_room_default_public_jids = true
	muc_room_default_moderated = true
	muc_room_default_history_length = 0
	max_history_messages = 0
	muc_room_default_presence_broadcast = { visitor = false, participant = true, moderator = true }
