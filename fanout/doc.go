// Package fanout is the output side of the clients: a session each, and the
// sharded broadcaster that carries a room's stanzas to thousands of them.
//
// It knows bytes and sessions, not XMPP. A room appends encoded messages to
// its [Log]; every follower has a cursor into it. A shard, one goroutine,
// owns the write side of many sessions and goes round them like an elevator:
// each visit sends everything between cursor and head in one write. Under
// load batches grow by themselves, and a visitor that falls behind costs its
// cursor, not a queue.
//
// Measured on this design: 0.33 µs of CPU for a delivery at 3 million a
// second on one core, against 7 to 9 µs with a goroutine and a queue each; see
// docs/ARCHITECTURE.md.
package fanout
