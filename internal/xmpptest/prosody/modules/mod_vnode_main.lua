-- The main side of the visitors protocol, for tests and the demo: what Jitsi's
-- visitors modules do on a main server, without lobby, tokens and promotion.
--
-- One global module, attached to four hosts that share its tables:
--   MAIN             speaks to the nodes (update, connect, disconnect, presences)
--   conference.MAIN  watches the rooms and relays their chat
--   visitors.MAIN    takes connect-vnode and disconnect-vnode from the focus,
--                    promotion-request and transcription-languages from nodes
--   polls.MAIN       takes the votes of visitors

module:set_global();

local st = require "util.stanza";
local jid = require "util.jid";
local new_id = require "util.id".medium;
local new_uuid = require "util.uuid".generate;

local NS_VISITORS = "jitsi:visitors";
local NS_MUC = "http://jabber.org/protocol/muc";
local NS_JITMEET = "http://jitsi.org/jitmeet";
local NS_ADDRESS = "http://jabber.org/protocol/address";

-- Main builds the address of a node from its id; every peer has this suffix built in.
local NODE_SUFFIX = ".meet.jitsi";
-- Nodes answer within milliseconds. What is later than this counts as unanswered.
local ANSWER_SECONDS = module:get_option_number("vnode_answer_seconds", 10);

local main = module:get_option_string("vnode_main_domain");
local rooms_host = "conference." .. main;
local admins = module:get_option_set("admins", {});

-- [room JID] = { [host of the node's rooms] = true }
local connected = {};

local function is_admin(address)
	return admins:contains(jid.bare(address));
end

local function nodes_of(room_jid)
	return pairs(connected[room_jid] or {});
end

local function is_connected(room_jid, node)
	local nodes = connected[room_jid];
	return nodes ~= nil and nodes[node] == true;
end

local function find_room(room_jid)
	local host = prosody.hosts[rooms_host];
	return room_jid and host and host.modules.muc.get_room_from_jid(room_jid);
end

-- The stream a stanza takes is the one of its sender's host.
local function send(stanza)
	module:context(jid.host(stanza.attr.from)):send(stanza);
end

----- Bookkeeping of the IQs sent to nodes ------------------------------------

local waiting = {}; -- [IQ id] = { kind, node }
local tally = {}; -- [kind] = { sent, result, error, unanswered }

local function count(kind, outcome)
	local of_kind = tally[kind];
	if not of_kind then
		of_kind = { sent = 0, result = 0, error = 0, unanswered = 0 };
		tally[kind] = of_kind;
	end
	of_kind[outcome] = of_kind[outcome] + 1;
	return ("sent=%d result=%d error=%d unanswered=%d"):format(
		of_kind.sent, of_kind.result, of_kind.error, of_kind.unanswered);
end

local function settle(id, outcome)
	local iq = waiting[id];
	waiting[id] = nil;
	module:log(outcome == "result" and "info" or "warn", "%s to %s: %s (%s)",
		iq.kind, iq.node, outcome, count(iq.kind, outcome));
end

----- What main sends to a node -----------------------------------------------

-- update, connect, disconnect: an IQ from MAIN to the node's rooms host.
local function send_iq(room, node, kind)
	local id = new_id();
	local iq = st.iq({ type = "set", id = id, from = main, to = node })
		:tag("visitors", { xmlns = NS_VISITORS, room = jid.join(jid.node(room.jid), node) })
		:tag(kind, {
			password = kind ~= "disconnect" and room:get_password() or "";
			-- Jitsi turns the lobby on and off by members_only.
			lobby = room:get_members_only() and "true" or "false";
			meetingId = room._data.vnode_meeting_id;
			createdTimestamp = room._data.vnode_created;
		});
	if kind == "update" then
		iq:tag("moderators");
		for _, occupant in room:each_occupant() do
			if occupant.role == "moderator" and not is_admin(occupant.bare_jid) then
				iq:tag("item", { epId = jid.resource(occupant.nick) }):up();
			end
		end
		iq:up();
	end
	waiting[id] = { kind = kind, node = node };
	count(kind, "sent");
	module:add_timer(ANSWER_SECONDS, function ()
		if waiting[id] then settle(id, "unanswered"); end
	end);
	send(iq:reset());
end

local function update_all(room)
	for node in nodes_of(room.jid) do
		send_iq(room, node, "update");
	end
end

-- A presence goes from the participant's real JID to the same nick on the node.
local function send_presence(node, occupant, presence)
	local copy = st.clone(presence);
	copy.attr.from = occupant.jid;
	copy.attr.to = jid.join(jid.node(occupant.nick), node, jid.resource(occupant.nick));
	send(copy);
end

local function mirror(room, occupant, presence)
	if is_admin(occupant.bare_jid) then return; end -- the focus joins nodes by itself
	for node in nodes_of(room.jid) do
		send_presence(node, occupant, presence);
	end
end

-- History: from room/nick as the room sent it, to the bare host of the node.
local function send_history(room, node)
	local event = { room = room, to = node, next_stanza = function () end };
	module:context(rooms_host):fire_event("muc-get-history", event);
	for message in event.next_stanza, event do
		send(st.clone(message));
	end
end

local function send_participants(room, node)
	local password = room:get_password();
	for _, occupant in room:each_occupant() do
		if not is_admin(occupant.bare_jid) then
			local join = st.clone(occupant:get_presence()):tag("x", { xmlns = NS_MUC });
			if password then join:text_tag("password", password); end
			send_presence(node, occupant, join:reset());
		end
	end
end

-- connect-vnode: update, history, participants, connect, in this order.
local function connect(room, node)
	if is_connected(room.jid, node) then return; end
	connected[room.jid] = connected[room.jid] or {};
	send_iq(room, node, "update");
	send_history(room, node);
	send_participants(room, node);
	connected[room.jid][node] = true;
	send_iq(room, node, "connect");
end

-- disconnect-vnode: sent even when the node was not connected, as the focus
-- repeats it for every node at the end of a conference.
local function disconnect(room, node)
	if not connected[room.jid] then return; end
	connected[room.jid][node] = nil;
	send_iq(room, node, "disconnect");
end

----- conference.MAIN ----------------------------------------------------------

-- Chat of a visitor, from room@node/nick: to the occupants, into the history
-- and to the other nodes, all from the bare room.
local function relay_visitor_chat(event)
	local room, stanza = event.room, event.stanza;
	local node = jid.host(stanza.attr.from);
	if event.occupant or not is_connected(room.jid, node) then
		return; -- an outsider gets not-acceptable from the room
	end
	local copy = st.clone(stanza);
	copy.attr.from = room.jid;
	room:broadcast_message(copy);
	for other in nodes_of(room.jid) do
		if other ~= node then
			local relayed = st.clone(copy);
			relayed.attr.to = jid.join(jid.node(room.jid), other);
			send(relayed);
		end
	end
	return true;
end

-- Private message of a visitor to an occupant: shown as from the bare room,
-- with the address to answer in XEP-0033 form.
local function relay_visitor_pm(event)
	local stanza = event.stanza;
	local room_jid, from = jid.bare(stanza.attr.to), stanza.attr.from;
	if stanza.attr.type ~= "chat" or not is_connected(room_jid, jid.host(from)) then return; end
	local room = find_room(room_jid);
	local occupant = room and room:get_occupant_by_nick(stanza.attr.to);
	if not occupant then
		event.origin.send(st.error_reply(stanza, "cancel", "item-not-found", "Recipient not in room"));
		return true;
	end
	local copy = st.clone(stanza);
	copy.attr.from = room_jid;
	copy:tag("addresses", { xmlns = NS_ADDRESS }):tag("address", { type = "ofrom", jid = from });
	room:route_to_occupant(occupant, copy:reset());
	return true;
end

local function attach_rooms(rooms)
	rooms:hook("muc-room-created", function (event)
		event.room._data.vnode_meeting_id = new_uuid();
		event.room._data.vnode_created = ("%d000"):format(os.time());
	end);

	-- A moderator is announced before its presence, so that it joins as one.
	rooms:hook("muc-occupant-joined", function (event)
		if event.occupant.role == "moderator" and not is_admin(event.occupant.bare_jid) then
			update_all(event.room);
		end
		mirror(event.room, event.occupant, event.stanza);
	end);

	-- After the checks of nicks (1, 2), before occupant-id is added (0).
	rooms:hook("muc-occupant-pre-change", function (event)
		if event.is_first_session == false then return; end -- may still end in a nick conflict
		mirror(event.room, event.dest_occupant, event.stanza);
	end, 0.5);

	rooms:hook("muc-occupant-left", function (event)
		-- No stanza: kicked, or the room is being destroyed.
		mirror(event.room, event.occupant, event.stanza or st.presence({ type = "unavailable" }));
	end);

	rooms:hook("muc-room-destroyed", function (event)
		local room = event.room;
		for node in nodes_of(room.jid) do
			send_iq(room, node, "disconnect");
		end
		connected[room.jid] = nil;
	end, 1); -- before the room is forgotten (0)

	-- Chat of an occupant: to every node, from the real JID. After the role
	-- check (50), before occupant-id is added (0).
	rooms:hook("muc-occupant-groupchat", function (event)
		if is_admin(event.occupant.bare_jid) then return; end
		for node in nodes_of(event.room.jid) do
			local copy = st.clone(event.stanza);
			copy.attr.from = event.occupant.jid;
			copy.attr.to = jid.join(jid.node(event.room.jid), node);
			send(copy);
		end
	end, 1);

	-- Above the role check (50), which refuses whoever is no occupant.
	rooms:hook("muc-occupant-groupchat", relay_visitor_chat, 55);

	rooms:hook("message/full", relay_visitor_pm, 10);

	-- Password, lobby and moderators changed: every node gets an update. Status
	-- 104 is set by the room's own handlers, so these run after them.
	local function config_changed(event)
		if event.status_codes["104"] then update_all(event.room); end
	end
	rooms:hook("muc-config-submitted/muc#roomconfig_roomsecret", config_changed, -100);
	rooms:hook("muc-config-submitted/muc#roomconfig_membersonly", config_changed, -100);

	-- Like Jitsi, not for owners made by the focus: it does that on join. The
	-- actor is true or nil when the server itself changes something.
	rooms:hook("muc-set-affiliation", function (event)
		local actor = event.actor;
		if event.affiliation == "owner" and type(actor) == "string" and not is_admin(actor) then
			update_all(event.room);
		end
	end, -2);
end

----- visitors.MAIN --------------------------------------------------------------

local from_focus = { ["connect-vnode"] = connect, ["disconnect-vnode"] = disconnect };
local from_node = { ["promotion-request"] = true, ["transcription-languages"] = true };

-- Returns nothing, or the type and condition of the error to answer with.
local function handle_visitors(from, query)
	local room, request = find_room(query.attr.room), query.tags[1];
	if not room then return "cancel", "item-not-found"; end
	-- connect-vnode comes alone, promotion-request before a <nick/>.
	for _, child in ipairs(query.tags) do
		if from_focus[child.name] or from_node[child.name] then request = child; end
	end
	if not request then return "modify", "bad-request"; end

	if from_focus[request.name] then
		if not is_admin(from) then return "auth", "forbidden"; end
		local id = request.attr.vnode;
		if not (id and id:match("^[%w_-]+$")) then return "modify", "bad-request"; end
		from_focus[request.name](room, "conference." .. id .. NODE_SUFFIX);
	elseif from_node[request.name] then
		if not is_connected(room.jid, "conference." .. from) then return "auth", "forbidden"; end
		module:log("info", "%s from %s", request:top_tag(), from);
	else
		return "cancel", "feature-not-implemented";
	end
end

local function attach_visitors(visitors)
	visitors:hook("iq/host/" .. NS_VISITORS .. ":visitors", function (event)
		local origin, stanza = event.origin, event.stanza;
		local err_type, condition = handle_visitors(stanza.attr.from, stanza.tags[1]);
		if err_type then
			origin.send(st.error_reply(stanza, err_type, condition));
		else
			origin.send(st.reply(stanza));
		end
		return true;
	end);
end

----- MAIN and polls.MAIN ----------------------------------------------------------

local function attach_main(host)
	host:add_identity("component", "visitors", "visitors." .. main);
	-- Answers of nodes end here; other results and errors are not ours.
	host:hook("iq/host", function (event)
		local attr = event.stanza.attr;
		local iq = (attr.type == "result" or attr.type == "error") and waiting[attr.id];
		if not iq or iq.node ~= attr.from then return; end
		settle(attr.id, attr.type);
		return true;
	end, 10);
end

local function attach_polls(polls)
	polls:hook("message/host", function (event)
		local stanza = event.stanza;
		local vote = stanza:get_child("json-message", NS_JITMEET);
		if not vote or not is_connected(vote.attr.roomJid, stanza.attr.from) then
			if stanza.attr.type ~= "error" then
				event.origin.send(st.error_reply(stanza, "auth", "forbidden"));
			end
			return true;
		end
		module:log("info", "vote from %s for %s: %s", stanza.attr.from, vote.attr.roomJid, vote:get_text());
		return true;
	end);
end

local attachments = {
	[main] = attach_main,
	[rooms_host] = attach_rooms,
	["visitors." .. main] = attach_visitors,
	["polls." .. main] = attach_polls,
};

local missing = 0;
for _ in pairs(attachments) do
	missing = missing + 1;
end

function module.add_host(host)
	attachments[host.host](host);
	missing = missing - 1;
end

----- The runner -------------------------------------------------------------------

-- A signal interrupts Prosody 0.12 anywhere, even in the middle of setting up a
-- session, where a shutdown fails half-way. The event loop, though, is between
-- two events when it notices that the runner closed our standard input.
local function shutdown_at_end_of_input()
	require "net.server".watchfd(0, function (input)
		input:close();
		prosody.main_thread:run(function ()
			prosody.unlock_globals();
			prosody.shutdown("end of input");
			prosody.lock_globals();
		end);
	end);
end

-- The runner waits for the last line here, or for the end of the process.
module:hook("server-started", function ()
	if missing > 0 then
		module:log("error", "not attached to all hosts, giving up");
		os.exit(1);
	end
	shutdown_at_end_of_input();
	module:log("info", "vnode main side ready");
end);
