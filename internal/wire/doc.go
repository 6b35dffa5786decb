// Package wire knows the bytes of XMPP's XML and nothing else: no sockets, no
// goroutines, no rules of rooms or sessions.
//
// It frames the top-level elements of a stream (RFC 6120 §4, restricted XML of
// §11.1) under limits, reads the attributes of a start tag without allocation,
// checks what an untrusted client sends completely (well-formedness and
// namespaces), walks direct children, escapes and builds.
//
// Two depths of inspection exist on purpose. A peer server has parsed what it
// sends, so a [Reader] only frames it (about 0.6 µs for 1 KB). A visitor's
// stanza is forwarded to thousands of browsers, one of which ill-formed byte
// would disconnect, so it goes through [Check] as well.
package wire
