-- Stands in for Jitsi's component of this name; see mod_visitors.

require "core.modulemanager".load(module.host, "vnode_main");
