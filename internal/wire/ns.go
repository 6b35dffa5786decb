package wire

// Namespaces used by more than one package. A namespace that only one package
// speaks is defined there.
const (
	NSClient   = "jabber:client"
	NSServer   = "jabber:server"
	NSStream   = "http://etherx.jabber.org/streams"
	NSStreams  = "urn:ietf:params:xml:ns:xmpp-streams" // stream error conditions
	NSStanzas  = "urn:ietf:params:xml:ns:xmpp-stanzas" // stanza error conditions
	NSTLS      = "urn:ietf:params:xml:ns:xmpp-tls"
	NSSASL     = "urn:ietf:params:xml:ns:xmpp-sasl"
	NSBind     = "urn:ietf:params:xml:ns:xmpp-bind"
	NSSession  = "urn:ietf:params:xml:ns:xmpp-session"
	NSFraming  = "urn:ietf:params:xml:ns:xmpp-framing" // RFC 7395
	NSLimits   = "urn:xmpp:stream-limits:0"            // XEP-0478
	NSSM       = "urn:xmpp:sm:3"                       // XEP-0198
	NSPing     = "urn:xmpp:ping"                       // XEP-0199
	NSDisco    = "http://jabber.org/protocol/disco#info"
	NSItems    = "http://jabber.org/protocol/disco#items"
	NSMUC      = "http://jabber.org/protocol/muc"
	NSMUCUser  = "http://jabber.org/protocol/muc#user"
	NSMUCOwner = "http://jabber.org/protocol/muc#owner"
	NSMUCAdmin = "http://jabber.org/protocol/muc#admin"
	NSNick     = "http://jabber.org/protocol/nick"
	NSDelay    = "urn:xmpp:delay"
	NSForm     = "jabber:x:data"
	NSVisitors = "jitsi:visitors"
)
