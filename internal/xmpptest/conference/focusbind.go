package conference

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"

	"mellium.im/xmlstream"
	"mellium.im/xmpp"
	"mellium.im/xmpp/jid"

	"vnode/internal/wire"
)

// bindAs binds the resource asked for (RFC 6120 §7.7), as jicofo asks for
// "focus". The library's own feature asks for an empty one.
func bindAs(resource string) xmpp.StreamFeature {
	return xmpp.StreamFeature{
		Name:       xml.Name{Space: wire.NSBind, Local: "bind"},
		Necessary:  xmpp.Authn,
		Prohibited: xmpp.Ready,
		Parse: func(_ context.Context, d *xml.Decoder, start *xml.StartElement) (bool, any, error) {
			return true, nil, d.Skip()
		},
		Negotiate: func(_ context.Context, s *xmpp.Session, _ any) (xmpp.SessionState, io.ReadWriter, error) {
			bound, err := bindResource(s, resource)
			if err != nil {
				return 0, nil, fmt.Errorf("bind %q: %w", resource, err)
			}
			s.UpdateAddr(bound)
			return xmpp.Ready, nil, nil
		},
	}
}

func bindResource(s *xmpp.Session, resource string) (jid.JID, error) {
	b := wire.NewBuilder(nil).Start("iq", "xmlns", wire.NSClient, "type", "set", "id", "_bind_auth_2")
	b.Start("bind", "xmlns", wire.NSBind).Elem("resource", resource)
	w := s.TokenWriter()
	_, err := xmlstream.Copy(w, rawTokens(b.Bytes()))
	if err := errors.Join(err, w.Flush(), w.Close()); err != nil {
		return jid.JID{}, err
	}
	r := s.TokenReader()
	defer func() { _ = r.Close() }()
	var answer struct {
		Type  string      `xml:"type,attr"`
		JID   string      `xml:"bind>jid"`
		Error *focusError `xml:"error"`
	}
	if err := xml.NewTokenDecoder(r).Decode(&answer); err != nil {
		return jid.JID{}, err
	}
	if answer.Error != nil {
		return jid.JID{}, answer.Error
	}
	return jid.Parse(answer.JID)
}
