package room

import (
	"errors"

	"mellium.im/xmpp/stanza"

	"vnode/internal/wire"
)

// Errors whose text or detail clients look at: jitsi-meet matches the text of
// restricted creation and the detail of the lobby to pick its dialog.
var (
	errLobby        = wire.StanzaError{Type: stanza.Cancel, Condition: stanza.NotAllowed, Text: "Visitors not allowed while lobby is on!", Extra: "<no-visitors-lobby xmlns='" + wire.NSVisitors + "'/>"}
	errPassword     = wire.StanzaError{Type: stanza.Auth, Condition: stanza.NotAuthorized}
	errConflict     = wire.StanzaError{Type: stanza.Cancel, Condition: stanza.Conflict}
	errNoToken      = wire.StanzaError{Type: stanza.Cancel, Condition: stanza.NotAllowed, Text: "Authentication required", Extra: "<authentication-required xmlns='http://jitsi.org/jitmeet'/>"}
	errQueueFull    = wire.StanzaError{Type: stanza.Wait, Condition: stanza.ResourceConstraint, Text: "Too many visitors wait for this room"}
	ErrNotJoined    = wire.StanzaError{Type: stanza.Modify, Condition: stanza.NotAcceptable, Text: "You are not currently connected to this chat"}
	errNotConnected = wire.StanzaError{Type: stanza.Cancel, Condition: stanza.ItemNotFound, Text: "You are not currently connected to this chat"}
	errNickChange   = wire.StanzaError{Type: stanza.Modify, Condition: stanza.NotAcceptable, Text: "Nicks cannot be changed"}
	ErrNoNick       = wire.StanzaError{Type: stanza.Modify, Condition: stanza.JIDMalformed, Text: "A nick is missing"}
	ErrLongNick     = wire.StanzaError{Type: stanza.Modify, Condition: stanza.JIDMalformed, Text: "The nick is too long"}
	errBigPresence  = wire.StanzaError{Type: stanza.Modify, Condition: stanza.PolicyViolation, Text: "The presence is too large"}
	errBigMessage   = wire.StanzaError{Type: stanza.Modify, Condition: stanza.PolicyViolation, Text: "The message is too large"}
	errDials        = wire.StanzaError{Type: stanza.Cancel, Condition: stanza.ResourceConstraint, Text: "A transcriber has just been called"}
	errReadOnly     = wire.StanzaError{Type: stanza.Auth, Condition: stanza.Forbidden, Text: "The audience may read here, not write"}
	errSlowMode     = wire.StanzaError{Type: stanza.Wait, Condition: stanza.PolicyViolation}
	errFlood        = wire.StanzaError{Type: stanza.Wait, Condition: stanza.PolicyViolation, Text: "You are too fast"}
	errRoomFlood    = wire.StanzaError{Type: stanza.Wait, Condition: stanza.ResourceConstraint, Text: "The room is overactive, please try again later"}
	errFocusBusy    = wire.StanzaError{Type: stanza.Wait, Condition: stanza.ResourceConstraint, Text: "Too much waits for the focus, please try again later"}
	errNotForMain   = wire.StanzaError{Type: stanza.Auth, Condition: stanza.Forbidden, Text: "The audience may not write to participants"}
	errModerators   = wire.StanzaError{Type: stanza.Auth, Condition: stanza.Forbidden, Text: "Only moderators can moderate messages"}
	errAuthors      = wire.StanzaError{Type: stanza.Auth, Condition: stanza.Forbidden, Text: "Only its author can change a message"}
	errService      = wire.StanzaError{Type: stanza.Auth, Condition: stanza.Forbidden, Text: "Only services and moderators can say this"}
	errModerated    = wire.StanzaError{Type: stanza.Cancel, Condition: stanza.NotAllowed, Text: "The message was moderated"}
	errSubject      = wire.StanzaError{Type: stanza.Auth, Condition: stanza.Forbidden, Text: "Visitors may not change the subject"}
	errNoRecipient  = wire.StanzaError{Type: stanza.Cancel, Condition: stanza.ItemNotFound, Text: "Recipient not in room"}
	errVisitorPM    = wire.StanzaError{Type: stanza.Auth, Condition: stanza.Forbidden, Text: "Private messaging between visitors is disabled on visitor nodes"}
	errPollCreation = wire.StanzaError{Type: stanza.Cancel, Condition: stanza.NotAllowed, Text: "Poll cannot be created by visitor node"}
	errBigVote      = wire.StanzaError{Type: stanza.Modify, Condition: stanza.PolicyViolation, Text: "The vote is too large"}
	errVoteRate     = wire.StanzaError{Type: stanza.Wait, Condition: stanza.PolicyViolation, Text: "Votes come too fast"}
	errPollFull     = wire.StanzaError{Type: stanza.Wait, Condition: stanza.ResourceConstraint, Text: "The poll has too many voters"}
	errFilesVisitor = wire.StanzaError{Type: stanza.Auth, Condition: stanza.Forbidden, Text: "Visitors may not share files"}
	errOwnersOnly   = wire.StanzaError{Type: stanza.Auth, Condition: stanza.Forbidden, Text: "Only owners can configure rooms"}
	errNoSuchNick   = wire.StanzaError{Type: stanza.Modify, Condition: stanza.ItemNotFound}
	ErrNotFromMain  = wire.StanzaError{Type: stanza.Auth, Condition: stanza.Forbidden, Text: "Only the main server governs rooms"}
	errHeldChat     = wire.StanzaError{Type: stanza.Wait, Condition: stanza.RecipientUnavailable, Text: "The conference is interrupted; please write again in a minute"}
	errHeldVote     = wire.StanzaError{Type: stanza.Wait, Condition: stanza.RecipientUnavailable, Text: "The conference is interrupted; please vote again in a minute"}
)

// errBanned is that somebody is not let in, XEP-0045 §7.2.7.
func errBanned(room wire.JID) wire.StanzaError { return wire.ErrForbidden.From(room.String()) }

// AsStanzaError returns the stanza error in err's tree.
func AsStanzaError(err error) wire.StanzaError {
	var e wire.StanzaError
	if errors.As(err, &e) {
		return e
	}
	return wire.ErrServiceUnavailable
}

// Sender is the way to other servers.
type Sender interface {
	Send(from, to string, stanza []byte)
}

// SendError answers another server's stanza with an error. What a participant
// says gets none: main would hand it on to the participant's browser, which
// knows nothing of the node. Of the answers to participants' addresses a main
// server expects only IQs.
func SendError(out Sender, st *wire.Stanza, e wire.StanzaError) {
	if !st.Answerable() || string(st.Name) == "presence" || string(st.Name) == "message" && st.From.Local != "" && st.From.Resource != "" {
		return
	}
	out.Send(st.To.Domain, st.From.Domain, wire.AppendErrorReply(nil, &st.Header, "", st.From.String(), e))
}

// SendResult answers another server's IQ.
func SendResult(out Sender, st *wire.Stanza, payload []byte) {
	out.Send(st.To.Domain, st.From.Domain, wire.AppendResult(nil, &st.Header, "", st.From.String(), payload))
}
