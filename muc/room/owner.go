package room

import (
	"encoding/xml"

	"vnode/internal/wire"
)

const (
	formConfig   = "http://jabber.org/protocol/muc#roomconfig"
	fieldWhois   = "muc#roomconfig_whois"
	fieldMeeting = "muc#roominfo_meetingId"
)

// Bounds of what the focus may set, in bytes.
const (
	maxMeetingID = 256
	MaxReason    = 1024
)

// ownerQuery is what an owner sets.
type ownerQuery struct {
	Destroy *struct {
		Reason string `xml:"reason"`
	} `xml:"destroy"`
	Form *struct {
		Type   string `xml:"type,attr"`
		Fields []struct {
			Name  string `xml:"var,attr"`
			Value string `xml:"value"`
		} `xml:"field"`
	} `xml:"jabber:x:data x"`
}

// ownerIQ lets the focus read and submit the room's configuration, XEP-0045
// §10.2, and destroy the room, §10.9.
func (r *conference) ownerIQ(from Session, o *occupant, st *wire.Stanza, query *wire.Child) {
	if o == nil || o.kind != focus {
		r.refuse(from, st, errOwnersOnly)
		return
	}
	if string(st.Type) == "get" {
		r.answer(from, st, r.configForm())
		return
	}
	var q ownerQuery
	if err := xml.Unmarshal(query.Raw, &q); err != nil {
		r.refuse(from, st, wire.ErrBadRequest)
		return
	}
	switch {
	case q.Destroy != nil:
		r.end(endDestroyed, wire.Clip(q.Destroy.Reason, MaxReason))
	case q.Form != nil && q.Form.Type == "submit":
		r.configure(&q)
	case q.Form != nil && q.Form.Type == "cancel":
	default:
		r.refuse(from, st, wire.ErrBadRequest)
		return
	}
	r.answer(from, st, nil)
}

// configForm is the part of the configuration a visitor room has. Jicofo
// (Smack) refuses to answer a field the form does not have.
func (r *conference) configForm() []byte {
	b := wire.NewBuilder(nil).Start("query", "xmlns", wire.NSMUCOwner)
	b.Start("x", "xmlns", wire.NSForm, "type", "form")
	b.Elem("title", "Configuration for "+r.pub.String())
	field(b, "FORM_TYPE", "hidden", "", formConfig)
	field(b, fieldMeeting, "text-single", "The meeting unique id.", r.meetingID)
	b.Start("field", "var", fieldWhois, "type", "list-single", "label", "Addresses (JIDs) of room occupants may be viewed by:")
	b.Start("option", "label", "Anyone").Elem("value", "anyone").End()
	b.Elem("value", "anyone")
	return b.Bytes()
}

// configure takes what the focus may decide: the meeting's id. Addresses are
// visible to all and stay so (clients know the focus by its address), who sees
// whom is the nature of a visitor node; such answers are accepted and change
// nothing.
func (r *conference) configure(q *ownerQuery) {
	for _, f := range q.Form.Fields {
		if f.Name == fieldMeeting && f.Value != "" && len(f.Value) <= maxMeetingID {
			r.meets(f.Value)
		}
	}
}

// field adds a field to a form; an empty value adds none.
func field(b *wire.Builder, name, typ, label, value string) {
	b.Start("field", "var", name, "type", typ).Attr("label", label)
	if value != "" {
		b.Elem("value", value)
	}
	b.End()
}
