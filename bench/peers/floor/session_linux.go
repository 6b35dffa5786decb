package floor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"

	"vnode/internal/wire"
)

// session is one client. One goroutine owns it, except receiver, which is the
// hub's once the client is in the room.
type session struct {
	// Static after construction.
	hub  *hub
	conn net.Conn
	jid  string // full, as the client is told
	// everybody is the address in what is sent.
	everybody string

	authenticated bool
	handled       uint32 // stanzas since <enable/>
	in            *receiver
	room, nick    string // as joined
	speaks        bool   // it has said something
}

// errDone ends a session in order.
var errDone = errors.New("the client is done")

// serve answers the client until it goes or ctx ends.
func (s *session) serve(ctx context.Context) {
	defer func() { _ = s.conn.Close() }()
	up := ws.Upgrader{Protocol: func(p []byte) bool { return string(p) == "xmpp" }}
	_, err := up.Upgrade(s.conn)
	for err == nil {
		var elem []byte
		if elem, err = wsutil.ReadClientText(s.conn); err == nil {
			err = s.take(elem)
		}
	}
	if s.in != nil && ctx.Err() == nil {
		s.leave()
	}
}

func (s *session) take(elem []byte) error {
	h, err := wire.ParseHeader(elem)
	if err != nil {
		return err
	}
	switch string(h.Name) {
	case "open":
		return s.open()
	case "auth":
		s.authenticated = true
		return s.answer("<success xmlns='" + wire.NSSASL + "'/>")
	case "enable":
		s.handled = 0
		return s.answer("<enabled xmlns='" + wire.NSSM + "'/>")
	case "r":
		return s.answer(fmt.Sprintf("<a xmlns='%s' h='%d'/>", wire.NSSM, s.handled))
	case "close":
		return errors.Join(s.answer("<close xmlns='"+wire.NSFraming+"'/>"), errDone)
	case "iq", "presence", "message":
		s.handled++
		return s.stanza(&h, elem)
	}
	return nil
}

func (s *session) open() error {
	_, full, _ := strings.Cut(s.jid, "@")
	domain, _, _ := strings.Cut(full, "/")
	features := "<mechanisms xmlns='" + wire.NSSASL + "'><mechanism>ANONYMOUS</mechanism></mechanisms>"
	if s.authenticated {
		features = "<bind xmlns='" + wire.NSBind + "'/><sm xmlns='" + wire.NSSM + "'/>"
	}
	if err := s.answer(string(wire.StreamHeader{From: domain, ID: "floor", Version: "1.0"}.AppendOpen(nil))); err != nil {
		return err
	}
	return s.answer("<stream:features xmlns:stream='http://etherx.jabber.org/streams'>" + features + "</stream:features>")
}

func (s *session) stanza(h *wire.Header, elem []byte) error {
	switch string(h.Name) {
	case "iq":
		return s.query(h, elem)
	case "presence":
		s.presence(h, elem)
	case "message":
		s.say(h, elem, "")
	}
	return nil
}

// query answers every request with what a client wants to hear.
func (s *session) query(h *wire.Header, elem []byte) error {
	if !wire.Answerable(h) {
		return nil
	}
	var payload []byte
	if _, bind := wire.FindChild(elem, wire.NSBind, "bind"); bind {
		payload = []byte("<bind xmlns='" + wire.NSBind + "'><jid>" + s.jid + "</jid></bind>")
	}
	return s.answer(string(wire.AppendResult(nil, h, wire.NSClient, s.jid, payload)))
}

func (s *session) presence(h *wire.Header, elem []byte) {
	switch {
	case string(h.Type) == "unavailable":
		s.leave()
	case s.in == nil:
		s.enter(h, elem)
	default:
		s.say(h, elem, occupant)
	}
}

// occupant marks a presence as one of a room's occupant (XEP-0045 §7.2.2), self
// as the receiver's own.
const (
	occupant = "<x xmlns='" + wire.NSMUCUser + "'><item affiliation='none' role='participant'/></x>"
	self     = "<x xmlns='" + wire.NSMUCUser + "'><item affiliation='none' role='participant'/><status code='110'/></x>"
)

func (s *session) enter(h *wire.Header, elem []byte) {
	s.room, s.nick, _ = strings.Cut(wire.Unescape(h.To), "/")
	raw, err := newSender(s.conn)
	if err != nil || s.nick == "" {
		return
	}
	s.in = &receiver{conn: s.conn, raw: raw}
	own := s.from(h, nil, self)
	_, s.speaks = wire.FindChild(elem, stampSpace, "stamp")
	shown := s.from(h, h.Inner(elem), occupant)
	s.hub.do(func() {
		if s.speaks {
			s.hub.say(shown)
			s.hub.remember(s.nick, shown)
		}
		s.hub.enter(s.in, own)
	})
}

// stampSpace is the namespace of what tells a speaker's presence from that of
// a visitor, which nobody is told of.
const stampSpace = "urn:vnode:bench"

func (s *session) say(h *wire.Header, elem []byte, more string) {
	if s.in == nil {
		return
	}
	b := s.from(h, h.Inner(elem), more)
	s.hub.do(func() {
		s.hub.say(b)
		if more == occupant {
			s.hub.remember(s.nick, b)
		}
	})
}

func (s *session) leave() {
	if s.in == nil {
		return
	}
	in := s.in
	s.in = nil
	gone := wire.Header{Name: []byte("presence"), Type: []byte("unavailable")}
	own, shown := s.from(&gone, nil, self), s.from(&gone, nil, occupant)
	s.hub.do(func() {
		s.hub.leave(in)
		if s.speaks {
			s.hub.remember(s.nick, nil)
			s.hub.say(shown)
		}
		in.raw.send(frame(own))
	})
}

// from builds the stanza as the room sends it: inner and more are encoded
// content.
func (s *session) from(h *wire.Header, inner []byte, more string) []byte {
	b := wire.NewBuilder(nil).Start(string(h.Name), "xmlns", wire.NSClient, "from", s.room+"/"+s.nick, "to", s.everybody)
	b.Attr("type", string(h.Type)).Attr("id", wire.Unescape(h.ID))
	return b.Raw(inner).Raw([]byte(more)).Bytes()
}

func (s *session) answer(elem string) error {
	return wsutil.WriteServerText(s.conn, []byte(elem))
}
