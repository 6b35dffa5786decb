package room

import (
	"bytes"
	"slices"
	"strings"

	"vnode/internal/wire"
	"vnode/muc/rate"
)

// Rayo (XEP-0327) as Jitsi uses it: a client asks the focus to let a gateway
// (jigasi) call somebody, or transcribe, in a room that headers name. The
// gateway takes part in the main room: the room's name is rewritten. What a
// token allows is known here only.

const nsRayo = "urn:xmpp:rayo:1"

// Headers of a <dial/>.
const (
	headerRoom     = "JvbRoomName"
	headerPassword = "JvbRoomPassword"
	headerUser     = "X-outbound-call-initiator-user"
	headerGroup    = "X-outbound-call-initiator-group"
)

// Features of a token that a dial needs.
const (
	featureCall       = "outbound-call"
	featureTranscribe = "transcription"
	transcriber       = "jitsi_meet_transcribe"
)

// oneDial lets a room have one transcriber called in a while: everybody asks for
// it when the first does.
var oneDial = rate.Limit{PerSecond: 0.1}

func isDial(st *wire.Stanza) bool {
	c, ok := st.FirstChild()
	return ok && c.Space == nsRayo && c.Local == "dial"
}

// dial passes a visitor's dial on to the focus, if its token allows it and it
// is for this room. Headers other than the room's name and password are the
// server's to set, and go.
func (r *conference) dial(o, to *occupant, st *wire.Stanza) {
	d, _ := st.FirstChild()
	feature := featureCall
	if strings.EqualFold(d.Attr("to"), transcriber) {
		feature = featureTranscribe
	}
	id := r.who.Identity
	room, password := dialHeaders(d.Raw)
	switch {
	case to.kind != focus || id == nil || !id.Features[feature] || room != r.pub.String():
		r.refuse(o.session, st, wire.ErrForbidden)
		return
	case feature == featureTranscribe && !r.dials.Take(oneDial, r.now):
		r.refuse(o.session, st, errDials)
		return
	}
	rewritten := *st
	rewritten.Raw = r.rewriteDial(st, &d, password, id)
	r.pass(o, to, &rewritten)
}

// dialHeaders returns what the client says in the headers that count.
func dialHeaders(dial []byte) (room, password string) {
	for c := range wire.Children(dial) {
		if c.Local != "header" {
			continue
		}
		switch c.Attr("name") {
		case headerRoom:
			room = c.Attr("value")
		case headerPassword:
			password = c.Attr("value")
		}
	}
	return room, password
}

// rewriteDial returns the stanza with the server's headers in place of the
// client's.
func (r *conference) rewriteDial(st *wire.Stanza, d *wire.Child, password string, id *Identity) []byte {
	var content []byte
	for c := range wire.Children(d.Raw) {
		if c.Local != "header" {
			content = append(content, c.Raw...)
		}
	}
	b := wire.NewBuilder(content)
	header := func(name, value string) {
		if value != "" {
			b.Elem("header", "", "xmlns", nsRayo, "name", name, "value", value)
		}
	}
	header(headerUser, id.UserID)
	if id.UserID != "" {
		header(headerGroup, id.GroupID)
	}
	header(headerRoom, r.domains.OnMain(r.addr.Local).String())
	header(headerPassword, password)
	return withContent(&st.Header, st.Raw, withContent(&d.Header, d.Raw, b.Bytes()))
}

// withContent returns the element, which h heads and which is not empty, with
// other content between its tags.
func withContent(h *wire.Header, elem, content []byte) []byte {
	end := bytes.LastIndexByte(elem, '<')
	start := end - len(h.Inner(elem))
	return slices.Concat(elem[:start], content, elem[end:])
}
