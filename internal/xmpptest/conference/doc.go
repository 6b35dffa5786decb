// Package conference plays a conference around a visitor node, from outside, and
// checks what arrives. Tests of the node, the demonstration and the load test use it.
//
// It plays everybody a node meets: visitors by WebSocket ([Swarm]), the focus by
// client TCP ([Focus]), and the main side: participants of a real main Prosody
// ([Live]), or a simulated main server that speaks server-to-server itself ([Main]).
// The room of either is a [Conference], so that a [Scenario] drives both.
//
// Every presence and chat line carries a [Stamp] with its source, its number and its
// time of publication. A [Ledger] remembers what was published, and a [Tracker] for
// each receiver compares. What is lost, doubled, out of order or in the wrong hands is
// counted one by one.
//
// Visitors can lose their connection on purpose ([Visitor.Cut]) and resume their
// session as lib-jitsi-meet does. The Trackers go on over that: an outage is no excuse
// for a stanza.
//
// The package imports none of the server's packages: it is an independent peer, and
// shares only the framing of internal/wire with the node.
package conference
