package crowd

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"vnode/internal/wire"
	"vnode/internal/xmpptest/conference"
)

// offers is what the server's stream features hold.
type offers struct{ session, acks bool }

// errRemoved is a visitor that was put out of the room.
var errRemoved = errors.New("removed from the room")

// element takes one top-level element of the stream. What it points to is
// valid until it returns.
func (v *client) element(b []byte, now int64) {
	if len(b) < 3 || b[0] != '<' {
		if len(b) > 0 {
			v.fail(fmt.Errorf("no element: %.100q", b))
		}
		return
	}
	switch b[1] {
	case 'm', 'p', 'i':
		if v.acks {
			v.handled++
		}
		if v.stage == stageIn {
			v.stanza(b, now)
			return
		}
	case 'r':
		if v.acks && b[2] != 'e' { // <r/>, not <resumed/>
			v.ack()
			return
		}
	case 'a':
		return // to what we sent: <a/>
	}
	v.negotiate(b, now)
}

// ack answers <r/>, at once as lib-jitsi-meet does.
func (v *client) ack() {
	b := append(v.loop.scratch[:0], "<a xmlns='"+wire.NSSM+"' h='"...)
	b = strconv.AppendUint(b, uint64(v.handled), 10)
	b = append(b, "'/>"...)
	v.loop.scratch = b
	v.loop.tally.acks++
	v.put(b)
}

// put queues an element; what receives flushes it.
func (v *client) put(elem []byte) { v.out = v.framing.put(v.out, elem) }

// send queues a stanza.
func (v *client) send(elem []byte) {
	v.sent++
	v.put(elem)
}

// negotiate takes an element before the room is entered, or after it is left.
func (v *client) negotiate(b []byte, now int64) {
	h, err := wire.ParseHeader(b)
	if err != nil {
		v.fail(err)
		return
	}
	if err := v.step(b, &h, now); err != nil {
		v.fail(err)
	}
}

func (v *client) step(b []byte, h *wire.Header, now int64) error {
	switch name := string(h.Name); name {
	case "open", "message":
		return nil // a message before the join: what the server pushes
	case "stream:features", "features":
		return v.features(b)
	case "success":
		v.stage = stageFeatures
		v.framing.restart(v)
		return nil
	case "enabled":
		v.acks, v.handled, v.sent = true, 0, 0
		v.smID = h.Attr("id")
		v.join()
		return nil
	case "resumed":
		return v.resumed(now)
	case "iq":
		return v.iq(b, h)
	case "presence":
		return v.presence(b, h, now)
	case "stream:error", "error":
		return wire.ParseStreamError(b)
	case "close":
		return errors.New("the server closed the stream")
	case "failure", "failed":
		return fmt.Errorf("refused: %.200s", b)
	}
	return fmt.Errorf("unexpected: %.200s", b)
}

func (v *client) features(b []byte) error {
	if v.stage == stageMechanisms {
		v.stage = stageSuccess
		v.put([]byte("<auth xmlns='" + wire.NSSASL + "' mechanism='ANONYMOUS'/>"))
		return nil
	}
	v.offers = offers{}
	for c := range wire.Children(b) {
		switch {
		case c.Local == "session" && c.Space == wire.NSSession:
			v.offers.session = true
		case c.Local == "sm" && c.Space == wire.NSSM:
			v.offers.acks = true
		}
	}
	if v.smID != "" {
		v.stage = stageResumed
		v.put([]byte("<resume xmlns='" + wire.NSSM + "' h='" + strconv.FormatUint(uint64(v.handled), 10) + "' previd='" + v.smID + "'/>"))
		return nil
	}
	v.stage = stageBind
	v.put([]byte("<iq xmlns='jabber:client' type='set' id='_bind_auth_2'><bind xmlns='" + wire.NSBind + "'/></iq>"))
	return nil
}

func (v *client) iq(b []byte, h *wire.Header) error {
	if wire.Answerable(h) {
		v.answer(h)
		return nil
	}
	switch v.stage {
	case stageBind:
		bound, ok := wire.FindChild(b, wire.NSBind, "bind")
		jid, found := wire.FindChild(bound.Raw, wire.NSBind, "jid")
		if !ok || !found || string(h.Type) != "result" {
			return fmt.Errorf("bind: %.200s", b)
		}
		v.jid = jid.Text()
		parsed, err := wire.ParseJID(v.jid)
		if err != nil || parsed.Local == "" {
			return fmt.Errorf("bind: %q is no full JID", v.jid)
		}
		v.nick = nickOf(parsed.Local)
		if v.offers.session {
			v.stage = stageSession
			v.put([]byte("<iq xmlns='jabber:client' type='set' id='_session_auth_2'><session xmlns='" + wire.NSSession + "'/></iq>"))
			return nil
		}
		return v.enable()
	case stageSession:
		return v.enable()
	}
	return nil
}

// nickOf returns the nick of a visitor: of a UUID the first eight characters, as
// lib-jitsi-meet takes them. Other user names, as ejabberd's long numbers, may
// have the same beginning.
func nickOf(user string) string {
	if nick, rest, ok := strings.Cut(user, "-"); ok && len(nick) == 8 && len(rest) == len("0000-0000-0000-000000000000") {
		return nick
	}
	return user
}

// enable turns stream management on where it is offered.
func (v *client) enable() error {
	if v.crowd.opt.NoAcks || !v.framing.acks() {
		v.join()
		return nil
	}
	if !v.offers.acks {
		return errors.New("stream management is not offered")
	}
	v.stage = stageEnabled
	v.put([]byte("<enable xmlns='" + wire.NSSM + "' resume='true'/>"))
	return nil
}

func (v *client) join() {
	v.stage = stageJoining
	v.send(conference.VisitorPresence(v.crowd.opt.Room, v.nick, "Visitor "+strconv.Itoa(v.number+1)))
}

// resumed is the end of a resumption.
func (v *client) resumed(now int64) error {
	if v.stage != stageResumed {
		return errors.New("<resumed/> to no question")
	}
	v.stage, v.backAt = stageIn, now
	v.loop.tally.resumed.record(time.Duration(now - v.due))
	v.finish(nil)
	return nil
}

var self = [][]byte{[]byte("code='110'"), []byte(`code="110"`)}

// presence takes one that comes before the join is complete: somebody who is
// there, or the visitor itself, which ends the join (XEP-0045 §7.1).
func (v *client) presence(b []byte, h *wire.Header, now int64) error {
	switch string(h.Type) {
	case "error":
		return fmt.Errorf("join refused: %.300s", b)
	case "unavailable":
		if v.stage == stageLeaving && (bytes.Contains(b, self[0]) || bytes.Contains(b, self[1])) {
			v.framing.end(v)
		}
		return nil
	}
	if v.stage != stageJoining {
		return nil
	}
	if st, ok := conference.ParseStamp(b); ok {
		v.stamped(&st, b, now)
		return nil
	}
	if bytes.Contains(b, self[0]) || bytes.Contains(b, self[1]) {
		v.stage, v.joinedAt = stageIn, now
		v.loop.tally.joins[v.group].record(time.Duration(now - v.due))
		v.loop.tally.joinBytes += v.received
		v.finish(nil)
	}
	return nil
}

// answer replies to a request as lib-jitsi-meet does to what it understands.
func (v *client) answer(h *wire.Header) {
	v.send(wire.AppendResult(nil, h, wire.NSClient, wire.Unescape(h.From), nil))
}

// stanza takes what comes in the room: the hot path.
func (v *client) stanza(b []byte, now int64) {
	l := v.loop
	l.tally.stanzas++
	st, ok := l.tally.hints.find(b)
	switch {
	case b[1] == 'i':
		v.request(b, st, ok, now)
	case !ok:
		v.unstamped(b, now)
	default:
		// What is replayed, of the history or to a session that was resumed, may
		// say since when it waits, unlike what others got.
		if valid(&st) && !bytes.Contains(b, delayed) && !l.heard.parsed(v, &st, b) {
			l.tally.unexpected++
		}
		v.stamped(&st, b, now)
	}
}

// request takes an IQ: of the focus, in the relay scenario with a stamp.
func (v *client) request(b []byte, st conference.Stamp, stamped bool, now int64) {
	h, err := wire.ParseHeader(b)
	if err != nil {
		v.fail(err)
		return
	}
	if stamped {
		t := &v.loop.tally
		t.requests++
		t.requestBytes += uint64(len(b))
		if now > 0 && st.At >= v.crowd.since.Load() {
			t.requestDelay.record(time.Duration(now - st.At))
		}
	}
	if wire.Answerable(&h) {
		v.answer(&h)
	}
}

// unstamped takes the rest: subjects, leaves, errors, the room's end.
func (v *client) unstamped(b []byte, now int64) {
	h, err := wire.ParseHeader(b)
	if err != nil {
		v.fail(err)
		return
	}
	switch {
	case string(h.Type) == "error":
		v.loop.tally.errors++
	case string(h.Name) == "presence" && string(h.Type) == "unavailable" && (bytes.Contains(b, self[0]) || bytes.Contains(b, self[1])):
		v.fail(fmt.Errorf("%w: %.300s", errRemoved, b))
	}
}

// chat lets the visitor say something.
func (v *client) chat(due int64, size int) bool {
	v.loop.mu.Lock()
	defer v.loop.mu.Unlock()
	if v.stage != stageIn || v.stalled {
		return false
	}
	if v.source == nil {
		v.source = v.crowd.opt.Ledger.Add(conference.RoleVisitor, v.nick)
	}
	v.send(conference.ChatLine(v.source, v.crowd.opt.Room, "Visitor "+strconv.Itoa(v.number+1), due, size))
	v.flush()
	return true
}

// leave says unavailable; the stream ends when the room has answered.
func (v *client) leave() {
	switch v.stage {
	case stageIn:
		v.stalled = false
		v.stage = stageLeaving
		v.send(wire.NewBuilder(nil).Start("presence", "xmlns", wire.NSClient, "type", "unavailable",
			"to", v.crowd.opt.Room+"/"+v.nick).Bytes())
		v.flush()
	case stageDead, stageAway, stageLeaving:
	default:
		v.fail(errClosed)
	}
}
