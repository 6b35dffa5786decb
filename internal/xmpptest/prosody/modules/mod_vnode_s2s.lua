-- Where server-to-server streams to nodes go, and which certificates count
-- there: what Jitsi's s2sout_override and certs_s2soutinjection do.
--
-- Per host (a component does not inherit it from its parent):
--   vnode_targets = { ["conference.v3.meet.jitsi"] = { "127.0.0.1", 5269 } }
-- Global:
--   vnode_trust_targets = true   any certificate of a target is as good as valid
--
-- A host without a target is never looked up in DNS: the stanza comes back with
-- remote-server-not-found at once, so a test neither waits nor leaves loopback.

module:set_global();

local basic = require "net.resolvers.basic";
local service = require "net.resolvers.service";

-- Prosody 0.12 has no event to replace the resolver of a new stream, but it
-- fires s2sout-created and then asks service.new() for one, with nothing in
-- between. So the event tells whose stream the next resolver is for.
local dialling; -- { from, to, target }
local resolve = service.new;

local function no_target(hostname)
	return {
		hostname = hostname;
		last_error = "no target configured for " .. hostname;
		next = function (_, callback) callback(nil); end;
	};
end

function service.new(hostname, name, conn_type, extra)
	if not dialling or dialling.to ~= hostname then
		return resolve(hostname, name, conn_type, extra);
	end
	-- Direct TLS is asked for as well; nodes speak STARTTLS.
	if name ~= "xmpp-server" or not dialling.target then
		return no_target(hostname);
	end
	module:log("info", "dialling %s for %s at %s:%d", hostname, dialling.from,
		dialling.target[1], dialling.target[2]);
	return basic.new(dialling.target[1], dialling.target[2], conn_type, extra);
end

function module.unload()
	service.new = resolve;
end

local known = {}; -- [target host] = true, of all hosts

function module.add_host(host)
	local targets = host:get_option("vnode_targets", {});
	for target in pairs(targets) do
		known[target] = true;
	end
	host:hook("s2sout-created", function (event)
		local to = event.session.to_host;
		dialling = { from = host.host, to = to, target = targets[to] };
	end);
end

-- Runs after the certificate was really checked (509) and before that verdict
-- is enforced (-1).
if module:get_option_boolean("vnode_trust_targets", false) then
	module:hook("s2s-check-certificate", function (event)
		if event.cert and known[event.host] then
			event.session.cert_chain_status = "valid";
			event.session.cert_identity_status = "valid";
		end
	end);
end
