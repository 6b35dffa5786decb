// Package s2s speaks XMPP with other servers: it accepts their streams and
// opens its own, proves and checks who is at the other end, and carries
// stanzas between the domains it was told to connect (RFC 6120, XEP-0198 stream
// management, XEP-0220 dialback, XEP-0288 bidirectional streams, XEP-0368 direct
// TLS, XEP-0478 limits). It knows domains and streams; what a stanza means is
// the [Handler]'s business.
//
// # Pairs and streams
//
// A pair is one local and one remote domain. Each pair has one queue of what
// waits to go out, and any number of streams that may carry it: an outgoing
// one this server opened, and incoming ones whose peer asked for bidi. One
// stream at a time is in use, so that order is kept: the newest, until it ends
// or the peer opens another. Then the next one takes over, or one is dialed.
//
// # What is lost with a stream
//
// A stanza that was not written whole goes to the next stream. Of one that was,
// the kernel knows as little as we do whether the peer got it. So a stream
// learns what its peer has handled: by stream management when either side
// enables it, else by pings, to which even a refusal is an answer. When the
// stream ends, what was acknowledged has arrived; the rest is sent again if the
// peer resumes the stream, which is exact. If not it may have arrived or not:
// sent again it might arrive twice, so its sender gets remote-server-timeout.
// A peer that answers neither leaves us with what the kernel took, and then a
// stanza may be lost without a word.
//
// The same questions find a peer that takes all and says nothing: see
// [Config.LossTimeout].
//
// # Goroutines
//
// A stream belongs to its reader goroutine alone while it is negotiated. Once
// ready, a second goroutine writes: it takes what waits in the queues of the
// pairs the stream carries and coalesces it into one write. The reader calls
// the Handler, which may block: TCP then slows the peer down. A pair without a
// stream has a goroutine that dials; it turns into the reader of the stream it
// opened. No lock is held across I/O or a call of the Handler; the order of
// locks is stream before pair, and neither before Server.mu.
package s2s
