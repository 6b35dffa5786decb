// Package websocket is the server side of RFC 6455 as far as XMPP over
// WebSocket (RFC 7395) needs it: the handshake, a strict frame reader under
// limits, and the few frames a server writes itself.
//
// It leaves the caller the net.Conn. A WebSocket library that owns the
// connection writes one frame a call; a room's stanzas leave here many frames
// a write, which costs a sixth (docs/ARCHITECTURE.md).
package websocket
