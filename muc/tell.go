package muc

// What a room tells its log about itself. Comings and goings are for who looks
// at one room: the operator's page keeps a few of the last.

func (r *room) tellOf(what string, o *occupant) {
	r.log.Debug(what, "nick", o.nick, "role", o.role.String(), "session", o.jid().String())
}

// meets notes the id of the meeting, which main's and jicofo's logs bear too.
func (r *room) meets(id string) {
	if id == r.meetingID && r.log != r.unmet {
		return
	}
	r.meetingID = id
	r.log = r.unmet.With("meeting", id)
}
