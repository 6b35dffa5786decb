package room

import (
	"context"
	"log/slog"
)

// What a room tells its log about itself. Comings and goings are for who looks
// at one room: the operator's page keeps a few of the last.

func (r *conference) tellOf(what string, o *occupant) {
	if !r.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	r.log.LogAttrs(context.Background(), slog.LevelDebug, what,
		slog.String("nick", o.nick), slog.String("role", o.role.String()), slog.String("session", o.jid().String()))
}

// meets notes the id of the meeting, which main's and jicofo's logs bear too.
func (r *conference) meets(id string) {
	if id == r.meetingID && r.log != r.unmet {
		return
	}
	r.meetingID = id
	r.log = r.unmet.With("meeting", id)
	r.out.Meets(id)
}
