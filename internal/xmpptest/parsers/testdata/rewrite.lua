-- Reads stanzas as Prosody does, one stream for each, and writes what Prosody
-- would send on: for every input "LENGTH\n" and its bytes, LENGTH -1 for one
-- that ends the stream. The first argument is where Prosody's sources are. With
-- a second one, "alone", an input is a document of its own, and comes back as it is
-- when Prosody's parser reads it.
local sources = arg[1]
package.path = sources .. "/?.lua;" .. package.path
package.cpath = sources .. "/?.so;" .. package.cpath

-- Prosody 13 has its modules under a name of their own.
local function util(name)
	local found, module = pcall(require, "prosody.util." .. name)
	if found then return module end
	return require("util." .. name)
end
local xmppstream = util "xmppstream"

local head = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='x' version='1.0'>"

local function rewrite(text)
	local got, failed
	local session = { notopen = true }
	local stream = xmppstream.new(session, {
		stream_ns = "http://etherx.jabber.org/streams", stream_tag = "stream", default_ns = "jabber:client",
		streamopened = function() session.notopen = nil end,
		streamclosed = function() end,
		error = function() failed = true end,
		handlestanza = function(_, stanza) got = tostring(stanza) end,
	})
	local ok = stream:feed(head) and stream:feed(text)
	if failed or not ok or not got then return nil end
	return got
end

local function alone(text)
	local restricted
	local function refuse() restricted = true end
	local parser = require "lxp".new({ Comment = refuse, ProcessingInstruction = refuse, StartDoctypeDecl = refuse, XmlDecl = refuse }, "\1")
	if parser:parse(text) and parser:parse() and not restricted then return text end
end

local data = io.read("a")
local at = 1
while at <= #data do
	local first, last, length = data:find("(%d+)\n", at)
	if first ~= at then error("no length at " .. at) end
	local text = data:sub(last + 1, last + tonumber(length))
	at = last + 1 + tonumber(length)
	local out = (arg[2] == "alone" and alone or rewrite)(text)
	io.write(out and #out or -1, "\n", out or "")
end
