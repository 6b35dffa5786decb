package muc

import (
	"vnode/internal/wire"
	"vnode/muc/room"
)

// FromRemote takes a stanza of another server whose from domain the stream it
// came on has proved. It blocks only while the room's mailbox is full. The
// stanza is the caller's again on return.
func (s *Service) FromRemote(st *wire.Stanza) {
	if st.From.IsZero() || st.To.IsZero() {
		s.log.Debug("stanza without addresses ignored") // there is nobody to answer, or nobody to do it
		return
	}
	local, ok := s.concerned(st)
	switch {
	case ok:
		s.remoteToRoom(local, st)
	case s.componentMessage(st):
	case string(st.Name) == "iq" && st.Answerable():
		s.remoteToComponent(st)
	default:
		room.SendError(s, st, wire.ErrServiceUnavailable)
	}
}

// concerned returns the localpart of the room that a stanza of another server
// is about: the one it is sent to, or for those to the node's own domains the
// one it names.
func (s *Service) concerned(st *wire.Stanza) (local string, ok bool) {
	from, to := st.From, st.To
	if to.Domain == s.domains.Rooms && to.Local != "" {
		return to.Local, true
	}
	if to.Domain != s.domains.Rooms && to.Domain != s.domains.Host {
		return "", false
	}
	switch string(st.Name) {
	case "message": // history, a system message to one visitor, or a vote that came back
		if (from == wire.JID{Domain: s.domains.MainPolls}) {
			return roomOfVote(st)
		}
		if from.Domain != s.domains.MainRooms {
			return "", false
		}
		if from.Local == "" && to.Domain == s.domains.Rooms {
			from = room.SpeakerOf(st)
		}
		return from.Local, from.Local != ""
	case "iq":
		if string(st.Type) != "set" {
			return "", false
		}
		q, ok := room.ParseVisitorsIQ(st)
		if !ok {
			return "", false
		}
		of, err := wire.ParseJID(q.Room)
		if err != nil {
			return "", false
		}
		local, ok = s.domains.Real(of.Local, of.Domain)
		return local, ok && local != ""
	}
	return "", false
}

func (s *Service) remoteToRoom(local string, st *wire.Stanza) {
	b := s.boxOf(local)
	if b == nil || !b.mail.put(fromRemote(st.Clone())) {
		room.WithoutRoom(s, s.domains, st)
	}
}

// boxOf returns the box of a room by its localpart, or nil.
func (s *Service) boxOf(local string) *box {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.rooms[local]
}

// remoteToComponent answers another server's request to the node's own
// domains.
func (s *Service) remoteToComponent(st *wire.Stanza) {
	if _, ok := st.Child(wire.NSVisitors, "visitors"); ok {
		room.SendError(s, st, wire.ErrBadRequest) // names no room of ours
		return
	}
	if st.To.Domain != s.domains.Rooms {
		room.SendError(s, st, wire.ErrServiceUnavailable)
		return
	}
	payload, err := componentIQ(st)
	if err != nil {
		room.SendError(s, st, room.AsStanzaError(err))
		return
	}
	room.SendResult(s, st, payload)
}

// Send is what rooms and errors use to reach other servers.
func (s *Service) Send(from, to string, stanza []byte) { s.remote.Send(from, to, stanza) }
