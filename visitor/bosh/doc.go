// Package bosh is the server side of BOSH (XEP-0124) for XMPP (XEP-0206): an
// http.Handler that strings a client's requests together to sessions, and gives
// each session to its caller as one connection, a [Conn].
//
// A request carries elements up and waits, up to a minute, for something to
// carry down. Requests may overtake each other, get lost, or come twice; what
// the caller reads and what the client reads is in order and comes once:
// requests are taken by their rid, and a response is kept until a later rid
// shows that the client has it.
//
// A session costs no goroutine: its requests have those of the http.Server,
// and one timer does for waiting, inactivity and gaps.
package bosh
