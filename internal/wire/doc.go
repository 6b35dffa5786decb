// Package wire knows the bytes of XMPP's XML and nothing else: no sockets, no
// goroutines, no rules of rooms or sessions.
//
// It frames the top-level elements of a stream (RFC 6120 §4, restricted XML of
// §11.1) under limits, reads the attributes of a start tag without allocation,
// checks what an untrusted client sends completely (well-formedness and
// namespaces), walks direct children, escapes and builds.
//
// A [Reader] frames what comes before a peer has authenticated, and what our own
// test clients read (about 1 µs for 1 KB). Every stanza that may reach others is
// checked as well, by [Check] or in the Reader's own pass ([Reader.Check], about
// 2.5 µs for 1 KB), whoever sends it: it is forwarded to browsers, to jicofo and
// to the main server, whose parsers differ. A trusted peer passes on what others
// say.
package wire
