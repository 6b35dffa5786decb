package room

import (
	"strconv"

	"vnode/internal/wire"
)

// info tells occupants about the room, XEP-0045 §6.4. Others learn nothing:
// rooms are hidden.
func (r *conference) info(from Session, o *occupant, st *wire.Stanza) {
	if o == nil {
		r.refuse(from, st, wire.ErrForbidden)
		return
	}
	b := wire.NewBuilder(nil).Start("query", "xmlns", wire.NSDisco)
	b.Elem("identity", "", "category", "conference", "type", "text")
	secured := "muc_unsecured"
	if r.password != "" {
		secured = "muc_passwordprotected"
	}
	for _, f := range []string{
		wire.NSDisco, wire.NSMUC, wire.NSMUC + "#stable_id", wire.NSMUC + "#self-ping-optimization", NSOccupantID,
		"muc_hidden", "muc_nonanonymous", "muc_open", "muc_temporary", "muc_unmoderated", secured,
	} {
		b.Elem("feature", "", "var", f)
	}
	b.Start("x", "xmlns", wire.NSForm, "type", "result")
	field(b, "FORM_TYPE", "hidden", "", wire.NSMUC+"#roominfo")
	field(b, "muc#roominfo_occupants", "text-single", "Number of occupants", strconv.Itoa(r.nicks.Len()))
	field(b, fieldMeeting, "text-single", "The meeting unique id.", r.meetingID)
	if r.created != "" {
		field(b, "muc#roominfo_created_timestamp", "text-single", "The meeting created_timestamp.", r.created)
	}
	field(b, "muc#roominfo_visitorsEnabled", "boolean", "Whether visitors are enabled.", "1")
	field(b, "muc#roominfo_messageModerationEnabled", "boolean", "Whether message moderation and editing are handled by the server.", "1")
	field(b, "muc#roominfo_lang", "text-single", "", defaultLang)
	r.answer(from, st, b.Bytes())
}

// items lists no occupants, as XEP-0045 §6.5 leaves to the room.
func (r *conference) items(from Session, o *occupant, st *wire.Stanza) {
	if o == nil {
		r.refuse(from, st, wire.ErrForbidden)
		return
	}
	r.answer(from, st, []byte("<query xmlns='"+wire.NSItems+"'/>"))
}
