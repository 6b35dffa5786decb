// Package muc is the node's multi-user chat service (XEP-0045) in the shape a
// visitor node needs: rooms that mirror a room of the main server, watched by
// local visitors and governed by the focus.
//
// A room is a pure state machine: a stanza, a lost session or a timer goes in,
// effects come out (see the effects interface), the time is handed in with
// each event. The [Service] owns what a room must not know: the map of rooms,
// one goroutine and one bounded mailbox a room, timers and the clock.
//
// Who is who in a room:
//
//   - the focus, a local session with [Session.Admin]: creates the room, is
//     owner and moderator, is told of every visitor;
//   - participants, occupants of the main room, mirrored here by their
//     presences that the main server forwards: seen by everybody;
//   - visitors, every other local session: seen by the focus only.
//
// Addresses have two forms. Between servers a room is room@conference.HOST or
// [tenant]room@conference.HOST; to local clients the latter is written
// room@conference.tenant.HOST. The Service maps what clients send, a room
// writes what they get.
package muc
