package room

import (
	"encoding/xml"

	"vnode/fanout"
	"vnode/internal/wire"
)

// adminQuery is a change of one occupant's role.
type adminQuery struct {
	Item struct {
		Nick   string `xml:"nick,attr"`
		Role   string `xml:"role,attr"`
		Reason string `xml:"reason"`
	} `xml:"item"`
}

// adminIQ lets the focus, and nobody else, kick a visitor or itself, XEP-0045
// §8.2. Participants are main's to kick, and nobody is promoted here.
func (r *conference) adminIQ(from Session, o *occupant, st *wire.Stanza, query *wire.Child) {
	if o == nil || o.kind != focus || string(st.Type) != "set" {
		r.refuse(from, st, wire.ErrNotAllowed)
		return
	}
	var q adminQuery
	if err := xml.Unmarshal(query.Raw, &q); err != nil || q.Item.Nick == "" || q.Item.Role != roleNone.String() {
		r.refuse(from, st, wire.ErrBadRequest)
		return
	}
	target := r.nicks.Get(q.Item.Nick)
	s := status{gone: true, codes: []string{"307"}, actor: o.nick, reason: wire.Clip(q.Item.Reason, MaxReason)}
	switch {
	case target == nil:
		r.refuse(from, st, errNoSuchNick)
	case target.kind == participant:
		r.refuse(from, st, wire.ErrNotAllowed)
	case target.kind == visitor:
		r.answer(from, st, nil)
		r.visitorGone(target, nil, s)
	default:
		r.answer(from, st, nil)
		r.remove(target)
		r.part()
		s.self = true
		r.out.Deliver(from, r.presencePacket(fanout.Plain, target, nil, s))
	}
}
