-- Stands in for Jitsi's module of this name, on main's host. What it and the
-- components do is in mod_vnode_main; this loads it where setup has enabled
-- visitors, and on main's rooms.

local modulemanager = require "core.modulemanager";

local function attach(host)
	if not modulemanager.is_loaded(host, "vnode_main") then
		assert(modulemanager.load(host, "vnode_main"));
	end
end

attach(module.host);
local rooms = "conference." .. module.host;
if prosody.hosts[rooms] then
	attach(rooms);
end
prosody.events.add_handler("host-activated", function (host)
	if host == rooms then attach(host); end
end, -1);
