package muc

import (
	"errors"
	"slices"
	"strings"
	"time"

	"vnode/fanout"
	"vnode/internal/wire"
	"vnode/muc/files"
	"vnode/muc/polls"
	"vnode/muc/rate"
)

// The polls and file-sharing components of the node. On a main server each is
// a component of its own; here they are faces of the rooms. Clients find them
// by the identities of the domain they log in to, and take their messages from
// these very addresses only.

const nsJitmeet = "http://jitsi.org/jitmeet"

// Component is a service beside the rooms that clients are told of.
type Component struct {
	// Type of its identity in the category component (XEP-0030 §3.1).
	Type string
	// Domain is its address.
	Domain string
}

// Components returns those of the rooms at domain, whose first label is
// prefix.
func Components(cfg Config) []Component {
	cfg = cfg.withDefaults()
	d := cfg.domains()
	return []Component{{"polls", d.Polls}, {files.Component, d.Files}}
}

// clientToShared handles a stanza to one of the components. It is about the
// room that the session has joined last: clients name none.
func (s *Service) clientToShared(from Session, h *wire.Header, to wire.JID, stanza []byte) {
	switch string(h.Name) {
	case "iq":
		s.answerIQ(from, h, func() ([]byte, error) { return s.sharedIQ(h, to.Domain, stanza) })
	case "message":
		local, ok := s.latestRoom(from)
		if !ok {
			s.refuse(from, h, errNotJoined)
			return
		}
		s.clientToRoom(from, local, &event{kind: evClient, session: from, stanza: clone(stanza)}, false)
	default:
		s.refuse(from, h, wire.ErrServiceUnavailable)
	}
}

func (s *Service) latestRoom(from Session) (local string, ok bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	g := s.guest(from)
	if g == nil || g.latest == nil {
		return "", false
	}
	return g.latest.local, true
}

// sharedIQ answers a request to a component (XEP-0030 §3, XEP-0199 §4.3).
func (s *Service) sharedIQ(h *wire.Header, domain string, stanza []byte) ([]byte, error) {
	c, ok := wire.FirstChild(stanza)
	switch {
	case !ok:
		return nil, wire.ErrBadRequest
	case string(h.Type) != "get":
	case c.Space == wire.NSDisco && c.Local == "query":
		i := slices.IndexFunc(Components(s.cfg), func(c Component) bool { return c.Domain == domain })
		b := wire.NewBuilder(nil).Start("query", "xmlns", wire.NSDisco)
		b.Elem("identity", "", "category", "component", "type", Components(s.cfg)[i].Type, "name", domain)
		for _, f := range []string{wire.NSDisco, wire.NSItems, wire.NSPing} {
			b.Elem("feature", "", "var", f)
		}
		return b.Bytes(), nil
	case c.Space == wire.NSItems && c.Local == "query":
		return []byte("<query xmlns='" + wire.NSItems + "'/>"), nil
	case c.Space == wire.NSPing:
		return nil, nil
	}
	return nil, wire.ErrServiceUnavailable
}

// toComponent handles what a local session sends to one of the components.
func (r *room) toComponent(from Session, h *wire.Header, to wire.JID, stanza []byte) {
	if string(h.Type) == "error" {
		return // nobody waits for it
	}
	o := r.occupantOf(from)
	if o == nil {
		r.refuse(from, h, errNotJoined)
		return
	}
	if to.Domain == r.domains.Files {
		r.refuse(from, h, errFilesVisitor)
		return
	}
	if err := r.vote(o, stanza); err != nil {
		r.refuse(from, h, voteError(err))
	}
}

// voteLimit is how often a visitor may change its mind.
var voteLimit = rate.Limit{PerSecond: 0.5, Burst: 10}

// vote takes a visitor's vote. Only visitors may: the focus has no name.
func (r *room) vote(o *occupant, stanza []byte) error {
	c, ok := wire.FindChild(stanza, nsJitmeet, "json-message")
	if !ok || o.kind != visitor {
		return wire.ErrBadRequest
	}
	v, err := polls.ParseVote(c.Text())
	if err != nil {
		return err
	}
	if !o.flowing().votes.Take(voteLimit, r.now) {
		return errVoteRate
	}
	if err := r.polls.Cast(polls.Voter{ID: o.nick, Name: o.name()}, v); err != nil {
		return err
	}
	r.metrics.votes.Inc()
	r.tellVotes()
	return nil
}

// voteError is what the sender of a vote is told.
func voteError(err error) wire.StanzaError {
	switch {
	case errors.Is(err, polls.ErrCreation):
		return errPollCreation
	case errors.Is(err, polls.ErrTooLong):
		return errBigVote
	case errors.Is(err, polls.ErrNoPoll):
		return wire.ErrItemNotFound
	case errors.Is(err, polls.ErrFull):
		return errPollFull
	case errors.Is(err, polls.ErrMalformed), errors.Is(err, polls.ErrChoices):
		return wire.ErrBadRequest
	}
	return asStanzaError(err)
}

// A thousand visitors may vote in the same second, and each vote goes to all of
// them, and makes main send all polls to every other node. So many are told in
// each voteTick, the rest one tick later.
const (
	voteTick     = 200 * time.Millisecond
	votesPerTick = 10
)

// tellVotes tells visitors and main what is new of the polls.
func (r *room) tellVotes() {
	for r.told < votesPerTick && (r.told == 0 || !r.node.mainFull) {
		n, ok := r.polls.Next()
		if !ok {
			return
		}
		if r.visitors == 0 && n.ToMain == nil {
			continue // who comes is told of all polls
		}
		if r.told++; !r.armed[alarmVotes] {
			r.arm(alarmVotes, voteTick)
		}
		if n.Announce != nil && r.visitors > 0 {
			r.toVisitors(componentPacket(r.domains.Polls, n.Announce))
		}
		if n.ToMain != nil {
			r.sendVote(n)
		}
	}
	if !r.armed[alarmVotes] {
		r.arm(alarmVotes, voteTick)
	}
}

// sendVote sends a vote to main's component. It must come from the rooms'
// domain itself, by which main knows the node that needs no news of it; the
// message's id names the room, should it come back.
func (r *room) sendVote(n polls.News) {
	b := wire.NewBuilder(nil).Start("message", "from", r.domains.Rooms, "to", r.domains.MainPolls,
		"id", n.MessageID+"@"+r.addr.Local)
	b.Elem("json-message", string(n.ToMain), "xmlns", nsJitmeet, "roomJid", r.main.String())
	r.out.send(r.domains.Rooms, r.domains.MainPolls, b.Bytes())
}

// roomOfVote returns the localpart of the room whose vote came back.
func roomOfVote(h *wire.Header) (local string, ok bool) {
	if string(h.Type) != "error" {
		return "", false
	}
	_, local, ok = strings.Cut(wire.Unescape(h.ID), "@")
	return local, ok && local != ""
}

func (r *room) voteReturned(h *wire.Header) {
	id, _, _ := strings.Cut(wire.Unescape(h.ID), "@")
	r.polls.Returned(id)
}

// share takes the polls and files of main's update. One without polls comes
// from a room that has none; one without files from a room that never had any.
func (r *room) share(c *control) {
	if c.Polls == nil {
		r.polls.Clear()
	} else if left, err := r.polls.Update(c.Polls.JSON); err != nil || left > 0 {
		r.log.Warn("polls of main left out", "count", left, "error", err)
	}
	r.polls.Retry()
	r.tellVotes()
	if c.Files == nil {
		r.shareFiles(nil)
		return
	}
	list := make([]files.File, len(c.Files.File))
	for i, f := range c.Files.File {
		list[i] = files.File{ID: f.ID, JSON: f.JSON}
	}
	r.shareFiles(list)
}

func (r *room) shareFiles(list []files.File) {
	news, left := r.files.Update(list)
	if left > 0 {
		r.log.Warn("files of main left out", "count", left)
	}
	if r.visitors == 0 {
		return
	}
	for _, n := range news {
		r.toVisitors(componentPacket(r.domains.Files, n))
	}
}

// shared is what a visitor gets of polls and files on joining.
func (r *room) shared() (ps []*packet) {
	if p := r.sharedPolls.of(r.domains.Polls, r.polls.Old()); p != nil {
		ps = append(ps, p)
	}
	if p := r.sharedFiles.of(r.domains.Files, r.files.All()); p != nil {
		ps = append(ps, p)
	}
	return ps
}

// cachedPacket is the packet last made of some JSON, which thousands who join
// one after the other are to get.
type cachedPacket struct {
	json   []byte
	packet *packet
}

// of returns the packet of json, which is immutable, from a component; nil for
// no json.
func (c *cachedPacket) of(from string, json []byte) *packet {
	switch {
	case json == nil:
		*c = cachedPacket{}
	case c.packet == nil || &c.json[0] != &json[0]:
		*c = cachedPacket{json, share(componentPacket(from, json))}
	}
	return c.packet
}

// componentPacket is a message with JSON from a component.
func componentPacket(from string, json []byte) *packet {
	head := appendOpen(nil, "message", from, "", &payload{})
	tail := append(make([]byte, 0, len(json)+len(json)/4+128), "'><json-message xmlns='"+nsJitmeet+"'>"...)
	tail = wire.AppendText(tail, string(json))
	tail = append(tail, "</json-message></message>"...)
	return &packet{class: fanout.Plain, head: head, tail: tail}
}
