package wire

import "mellium.im/xmpp/stanza"

// StanzaError answers a stanza that could not be handled (RFC 6120 §8.3).
type StanzaError struct {
	Type      stanza.ErrorType
	Condition stanza.Condition
	Text      string // for people; may be empty
	By        string // the entity that found the error, §8.3.1; may be empty
	// Extra is an application-specific condition (§8.3.4), an encoded
	// element such as <no-visitors-lobby xmlns='jitsi:visitors'/>.
	Extra string
}

// From returns e with the entity that found the error, RFC 6120 §8.3.1.
func (e StanzaError) From(who string) StanzaError {
	e.By = who
	return e
}

// Error implements error.
func (e StanzaError) Error() string {
	s := "stanza error: " + string(e.Type) + "/" + string(e.Condition)
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// Append appends the <error/> element to dst.
func (e StanzaError) Append(dst []byte) []byte {
	b := NewBuilder(dst).Start("error", "type", string(e.Type)).Attr("by", e.By)
	b.Elem(string(e.Condition), "", "xmlns", NSStanzas)
	if e.Text != "" {
		b.Elem("text", e.Text, "xmlns", NSStanzas)
	}
	return b.Raw([]byte(e.Extra)).Bytes()
}

// The errors most often answered.
var (
	ErrBadRequest         = StanzaError{Type: stanza.Modify, Condition: stanza.BadRequest}
	ErrForbidden          = StanzaError{Type: stanza.Auth, Condition: stanza.Forbidden}
	ErrItemNotFound       = StanzaError{Type: stanza.Cancel, Condition: stanza.ItemNotFound}
	ErrJIDMalformed       = StanzaError{Type: stanza.Modify, Condition: stanza.JIDMalformed}
	ErrNotAcceptable      = StanzaError{Type: stanza.Modify, Condition: stanza.NotAcceptable}
	ErrNotAllowed         = StanzaError{Type: stanza.Cancel, Condition: stanza.NotAllowed}
	ErrServiceUnavailable = StanzaError{Type: stanza.Cancel, Condition: stanza.ServiceUnavailable}
	ErrRemoteNotFound     = StanzaError{Type: stanza.Cancel, Condition: stanza.RemoteServerNotFound}
	ErrRemoteTimeout      = StanzaError{Type: stanza.Wait, Condition: stanza.RemoteServerTimeout}
)

// Answerable reports whether the stanza h heads may be answered with an error:
// an error or a result must not be (RFC 6120 §8.2.3, §8.3.1).
func Answerable(h *Header) bool {
	switch string(h.Type) {
	case "error":
		return false
	case "result":
		return string(h.Name) != "iq"
	}
	return true
}

// AppendErrorReply appends the answer e to the stanza h heads: addressed to
// to, from the address the stanza was sent to, with its id. space is the
// content namespace to declare, "" for none. The caller checks [Answerable].
func AppendErrorReply(dst []byte, h *Header, space, to string, e StanzaError) []byte {
	b := NewBuilder(dst).Start(string(h.Name)).Attr("xmlns", space).Attr("to", to).
		Attr("from", Unescape(h.To)).Attr("id", Unescape(h.ID)).Attr("type", "error")
	return b.Raw(e.Append(nil)).Bytes()
}

// AppendResult appends the result of the IQ h heads, addressed to to, holding
// the encoded payload (nil for none). space as in [AppendErrorReply].
func AppendResult(dst []byte, h *Header, space, to string, payload []byte) []byte {
	b := NewBuilder(dst).Start("iq").Attr("xmlns", space).Attr("to", to).
		Attr("from", Unescape(h.To)).Attr("id", Unescape(h.ID)).Attr("type", "result")
	return b.Raw(payload).Bytes()
}

// Clip cuts s to n bytes, or fewer, without splitting a character.
func Clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && s[n]&0xC0 == 0x80 {
		n--
	}
	return s[:n]
}
