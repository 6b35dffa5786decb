-- Stands in for Jitsi's module of this name: streams from servers that are not
-- listed end with policy-violation, and nothing is sent to such servers.

local st = require "util.stanza";

local listed = module:get_option_inherited_set("s2s_whitelist", {});
local text = "Communication with this domain is restricted";

module:hook("s2s-stream-features", function (event)
	if not listed:contains(event.origin.from_host) then
		event.origin:close({ condition = "policy-violation", text = text });
	end
end, 1000);

module:hook("route/remote", function (event)
	if listed:contains(event.to_host) then return; end
	if event.stanza.attr.type ~= "error" then
		module:send(st.error_reply(event.stanza, "cancel", "not-allowed", text));
	end
	return true;
end, 100);
