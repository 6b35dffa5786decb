package room

import (
	"errors"
	"strings"
	"time"

	"vnode/fanout"
	"vnode/internal/wire"
	"vnode/muc/files"
	"vnode/muc/polls"
	"vnode/muc/rate"
)

const nsJitmeet = "http://jitsi.org/jitmeet"

// toComponent handles what a local session sends to one of the components.
func (r *conference) toComponent(from Session, st *wire.Stanza) {
	if string(st.Type) == "error" {
		return // nobody waits for it
	}
	o := r.occupantOf(from)
	if o == nil {
		r.refuse(from, st, ErrNotJoined)
		return
	}
	if st.To.Domain == r.domains.Files {
		r.refuse(from, st, errFilesVisitor)
		return
	}
	if err := r.vote(o, st); err != nil {
		r.refuse(from, st, voteError(err))
	}
}

// voteLimit is how often a visitor may change its mind.
var voteLimit = rate.Limit{PerSecond: 0.5, Burst: 10}

// vote takes a visitor's vote. Only visitors may: the focus has no name.
func (r *conference) vote(o *occupant, st *wire.Stanza) error {
	c, ok := st.Child(nsJitmeet, "json-message")
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
	return AsStanzaError(err)
}

// A thousand visitors may vote in the same second, and each vote goes to all of
// them, and makes main send all polls to every other node. So many are told in
// each voteTick, the rest one tick later.
const (
	voteTick     = 200 * time.Millisecond
	votesPerTick = 10
)

// tellVotes tells visitors and main what is new of the polls.
func (r *conference) tellVotes() {
	for r.told < votesPerTick {
		some, toMain := r.polls.Waiting()
		if !some {
			return
		}
		if toMain && r.mainFull() {
			break
		}
		n, _ := r.polls.Next()
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
func (r *conference) sendVote(n polls.News) {
	b := wire.NewBuilder(nil).Start("message", "from", r.domains.Rooms, "to", r.domains.MainPolls,
		"id", n.MessageID+"@"+r.addr.Local)
	b.Elem("json-message", string(n.ToMain), "xmlns", nsJitmeet, "roomJid", r.main.String())
	r.out.Tell(r.domains.Rooms, r.domains.MainPolls, b.Bytes())
}

func (r *conference) voteReturned(st *wire.Stanza) {
	id, _, _ := strings.Cut(wire.Unescape(st.ID), "@")
	r.polls.Returned(id)
}

// share takes the polls and files of main's update. One without polls comes
// from a room that has none; one without files from a room that never had any.
func (r *conference) share(c *control) {
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

func (r *conference) shareFiles(list []files.File) {
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
func (r *conference) shared() (ps []*Packet) {
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
	packet *Packet
}

// of returns the packet of json, which is immutable, from a component; nil for
// no json.
func (c *cachedPacket) of(from string, json []byte) *Packet {
	switch {
	case json == nil:
		*c = cachedPacket{}
	case c.packet == nil || &c.json[0] != &json[0]:
		*c = cachedPacket{json, share(componentPacket(from, json))}
	}
	return c.packet
}

// componentPacket is a message with JSON from a component.
func componentPacket(from string, json []byte) *Packet {
	head := appendOpen(nil, "message", from, "", &payload{})
	tail := append(make([]byte, 0, len(json)+len(json)/4+128), "'><json-message xmlns='"+nsJitmeet+"'>"...)
	tail = wire.AppendText(tail, string(json))
	tail = append(tail, "</json-message></message>"...)
	return &Packet{class: fanout.Plain, head: head, tail: tail}
}
