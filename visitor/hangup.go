package visitor

import "vnode/internal/wire"

// errNoRoom ends the stream of a visitor whose room is not there: at a stream
// error the page reloads after 10 to 29 s, and asks jicofo where to go.
var errNoRoom = wire.StreamError{Condition: wire.Reset, Text: "the conference is not here (any more); connect again"}

// HangUp ends the session with a stream error (RFC 6120 §4.9.3.16), at which
// jitsi-meet reloads its page. It does not wait for the client.
func (s *Session) HangUp() { s.end(streamReason(errNoRoom)) }
