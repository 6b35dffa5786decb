package room

import (
	"fmt"
	"strings"
	"time"

	"vnode/fanout"
	"vnode/internal/wire"
)

// hold is an audience that a fault has left without its room. For jicofo and main
// the room has ended. The visitors are told nothing and see the last picture;
// media often still runs. As soon as one of them asks jicofo for the conference,
// everybody who asks later becomes a visitor. So they may not before the
// participants, whose pages reload after 10 to 29 s, have asked: they are told only
// when a focus is logged in, main has the room, and [Comeback.Settle] has passed.
type hold struct {
	since time.Time // of the first fault
	fault fault     // the latest one

	visitors map[Session]*heldVisitor
	order    []*heldVisitor // in the order they came; those that went are marked
	untold   int            // have not been told to come back
	next     int            // in order, of those to be told

	phase  holdPhase
	silent bool      // they are told by a destroy with the room's address
	began  time.Time // the telling
	window time.Duration
	due    int // how many are to be told in it

	missed   int  // participants that are to come back
	counted  bool // jicofo says how many are there
	present  int
	counting bool // it is being asked
	heard    bool // it has answered since main has the room, or cannot be asked

	exists bool      // main has the room
	probe  string    // id of the question whether it does; "" while none is under way
	probed time.Time // when it was asked
	asked  time.Time // jicofo, zero while it has not been
	chosen time.Time // when jicofo chose this node

	became [fates]int
}

// heldVisitor is a visitor of a room that is no more.
type heldVisitor struct {
	o    *occupant
	room *conference
	told time.Time // zero while it has not been
	away bool      // it went
}

// holdPhase is how far a hold has come.
type holdPhase uint8

const (
	holding  holdPhase = iota // nobody is told anything
	choosing                  // jicofo was asked which node it takes
	telling                   // visitors are told, some at a time
)

// fate is what became of a held visitor; it is a metric label.
type fate uint8

const (
	fateReload fate = iota // it was told that the focus is gone
	fateSilent             // it was told to join again
	fateLeft               // it left before
	fateGaveUp             // it was told that the conference has ended
	fates
)

var fateNames = [fates]string{"reload", "silent", "left", "gave_up"}

// String is the value of the metric's label.
func (f fate) String() string { return fateNames[f] }

const (
	// probeAgain is how long main's answer is waited for before it is asked again.
	probeAgain = 5 * time.Second
	// tellEvery is the time between two steps of the telling.
	tellEvery = 200 * time.Millisecond
	// serving is how long the room may take to be connected once jicofo has chosen
	// this node.
	servingWithin = 10 * time.Second
	// reloadWithin is how long a page that saw the focus leave may take to reload;
	// then its stream is ended, at which it reloads as well.
	reloadWithin = time.Minute
)

// hold takes over the visitors of a room that has ended. Those of an earlier one
// wait as long as they do.
func (h *Room) hold(r *conference) {
	d := h.held
	if d == nil {
		d = &hold{since: h.now, visitors: make(map[Session]*heldVisitor)}
		h.held = d
	}
	d.missed = max(d.missed, r.missing)
	var told time.Time
	if r.sentOff {
		told = h.now
		d.became[fateReload] += len(r.stranded)
		h.metrics.audience(fateReload).Add(float64(len(r.stranded)))
	}
	for _, o := range r.stranded {
		v := &heldVisitor{o: o, room: r, told: told}
		d.visitors[o.session] = v
		d.order = append(d.order, v)
	}
	if !r.sentOff {
		d.untold += len(r.stranded)
		d.again(h, r.fault)
		h.log.Info("the audience of a room that a fault has ended is held", "why", d.fault.why, "visitors", d.untold, "participants_missing", d.missed)
	}
	h.tellHolds()
}

func (d *hold) has(s Session) bool { return d.visitors[s] != nil }

func (d *hold) empty() bool { return len(d.visitors) == 0 }

// tellHolds tells how many are held.
func (h *Room) tellHolds() {
	if h.held == nil {
		h.out.Holds(0, "")
		return
	}
	h.out.Holds(h.held.untold, h.held.fault.why)
}

// again starts the hold anew: another fault throws the participants out again.
func (d *hold) again(h *Room, f fault) {
	if d.fault.is() && !f.t0.After(d.fault.t0) {
		return
	}
	if d.fault.is() {
		h.log.Info("a second fault while the audience is held", "why", f.why, "visitors", d.untold)
	}
	f.resumes = f.resumes || d.fault.resumes && f.t0.Sub(d.fault.t0) < stillOut
	d.fault = f
	d.heard, d.counted, d.present = false, false, 0
	d.phase, d.asked, d.chosen, d.silent = holding, time.Time{}, time.Time{}, false
	d.exists, d.probe = false, ""
}

// mainLink takes a change of the streams to main. One that was lost is a fault,
// and pages notice a little late that main is back.
func (d *hold) mainLink(h *Room, before, change uint64) {
	if d.untold == 0 {
		return
	}
	if lost := change%2 == 0 || change > before+1; lost {
		d.again(h, fault{why: "the main server was lost", t0: h.now, resumes: true})
	}
	if change%2 == 1 {
		d.again(h, fault{why: "the main server was restarted", t0: h.now.Add(h.cfg.Comeback.Word), resumes: true})
	}
}

// nextLook is when the hold is to be looked at next: after tick, or when one of its
// times comes.
func (d *hold) nextLook(h *Room, tick time.Duration) time.Duration {
	if d.phase == telling {
		tick = min(tick, tellEvery)
	}
	if left := d.fault.t0.Add(h.cfg.Comeback.patience(d.counted, d.fault.resumes)).Sub(h.now); left > 0 {
		tick = min(tick, left)
	}
	return tick
}

// step does what is due.
func (d *hold) step(h *Room) {
	d.hurry(h)
	if d.untold == 0 && h.waiting.len() == 0 && (d.phase != telling || !d.asked.IsZero()) {
		return
	}
	if d.phase != telling && h.now.Sub(d.fault.t0) >= h.cfg.Comeback.GiveUp {
		d.giveUp(h, "nobody came back in time")
		return
	}
	d.ask(h)
	ready := h.focusIn.In && d.exists && h.mainIsUp()
	switch d.phase {
	case holding:
		switch {
		case !ready:
		case !d.settled(h):
			d.count(h)
		case h.cfg.Comeback.Mode == ComebackSilent:
			d.choose(h)
		default:
			d.begin(h, false)
		}
	case choosing:
		d.waitForRoom(h)
	case telling:
		if ready && (d.complete() || h.now.Sub(d.began) >= h.cfg.Comeback.firstReload()) {
			d.prime(h)
		}
		d.tellSome(h)
	}
}

// settled reports whether visitors may come back: the participants are there, or
// have had their time. The first of them may take longer than that, so jicofo is
// asked first in any case.
func (d *hold) settled(h *Room) bool {
	return d.complete() || d.heard && h.now.Sub(d.fault.t0) >= h.cfg.Comeback.patience(d.counted, d.fault.resumes)
}

// complete reports whether all the participants are seen to be back.
func (d *hold) complete() bool { return d.counted && d.missed > 0 && d.present >= d.missed }

// count asks jicofo how many participants are there. It is asked once main has the
// room: before that it may tell of the conference that the fault has ended.
func (d *hold) count(h *Room) {
	if !d.counting {
		d.counting = true
		h.out.CountParticipants(h.domains.OnMain(h.addr.Local).String())
	}
}

// participantsCounted takes the answer to count; known is false if there was none.
func (h *Room) participantsCounted(n int, known bool) {
	d := h.held
	if d == nil || !d.counting {
		return
	}
	d.counting = false
	if d.phase != holding || !d.exists {
		return
	}
	if known && (!d.counted || n != d.present) {
		h.log.Info("jicofo was asked who is back", "participants", n, "of", d.missed, "after", h.now.Sub(d.fault.t0).Round(time.Millisecond))
	}
	d.heard, d.counted, d.present = true, known, n
	if d.settled(h) {
		d.step(h)
	}
}

// ask asks main whether it has the room. Where its rooms are hidden from strangers
// the answer is forbidden, which will do.
func (d *hold) ask(h *Room) {
	if d.phase == telling || d.probe != "" && h.now.Sub(d.probed) < probeAgain {
		return
	}
	d.probe, d.probed = h.ids.text(), h.now
	b := wire.NewBuilder(nil).Start("iq", "type", "get", "id", d.probe, "from", h.addr.String(), "to", h.main.String())
	h.out.Send(h.addr.Domain, h.main.Domain, b.Elem("query", "", "xmlns", wire.NSDisco).Bytes())
}

// answered takes main's answer to ask; false: the stanza is another.
func (d *hold) answered(h *Room, st *wire.Stanza) bool {
	if d.probe == "" || st.From != h.main {
		return false
	}
	if string(st.Name) != "iq" || wire.Unescape(st.ID) != d.probe {
		return false
	}
	d.probe = ""
	exists := string(st.Type) == "result"
	if e, ok := st.Child("", "error"); ok {
		for c := range wire.Children(e.Raw) {
			exists = exists || c.Space == wire.NSStanzas && c.Local == "forbidden"
		}
	}
	if exists != d.exists {
		h.log.Info("main was asked for the room whose audience is held", "exists", exists, "after", h.now.Sub(d.fault.t0).Round(time.Millisecond))
	}
	d.exists = exists
	return true
}

// choose finds out whether visitors can join again here without asking jicofo: it
// must have made the room again on this node.
func (d *hold) choose(h *Room) {
	d.phase = choosing
	if h.serves() {
		d.begin(h, true)
		return
	}
	d.askJicofo(h)
}

// prime asks jicofo for the conference as a visitor before the first page does.
// From then on it makes everybody a visitor who asks; without it, those whose page
// does not prefer that would become participants.
func (d *hold) prime(h *Room) {
	if d.asked.IsZero() && h.life == nil {
		d.askJicofo(h)
	}
}

// owes reports whether jicofo is still to be asked for those who were told to
// reload: pages leave at once, and ask it later.
func (d *hold) owes(h *Room) bool {
	return d.phase == telling && !d.silent && d.became[fateReload] > 0 && d.asked.IsZero() && h.life == nil &&
		h.now.Sub(d.fault.t0) < h.cfg.Comeback.GiveUp
}

func (d *hold) askJicofo(h *Room) {
	d.asked = h.now
	h.out.AskJicofo(h.domains.OnMain(h.addr.Local).String())
}

// serves reports whether a room lives in which a visitor would see somebody.
func (h *Room) serves() bool {
	return h.life != nil && h.life.connected && len(h.life.participants) > 0
}

// jicofoChose takes the answer to askJicofo: the id of the node it chose, or why it
// chose none.
func (h *Room) jicofoChose(node, trouble string) {
	d := h.held
	if d == nil || d.asked.IsZero() {
		return
	}
	if trouble != "" {
		h.log.Warn("jicofo cannot be asked for the conference: visitors whose page does not prefer to be one may become participants", "error", trouble)
	} else {
		h.log.Info("jicofo was asked for the conference", "chose", node)
	}
	if d.phase == choosing {
		// Another node's request may have made jicofo choose this one.
		if node != "" && strings.HasPrefix(h.domains.Host, node+".") || h.life != nil {
			d.chosen = h.now
			d.waitForRoom(h)
		} else {
			d.begin(h, false)
		}
	}
}

// waitForRoom lets visitors join again once the room is here; it may take a while
// after jicofo has chosen the node, or jicofo to answer.
func (d *hold) waitForRoom(h *Room) {
	from := d.asked
	if !d.chosen.IsZero() {
		from = d.chosen
	}
	switch {
	case h.serves():
		d.begin(h, true)
	case h.now.Sub(from) >= 2*servingWithin, !d.chosen.IsZero() && h.now.Sub(from) >= servingWithin:
		d.begin(h, false)
	}
}

// begin begins the telling.
func (d *hold) begin(h *Room, silent bool) {
	d.phase, d.silent, d.began, d.due, d.next = telling, silent, h.now, d.untold, 0
	d.window = h.cfg.Comeback.spreadOver(max(d.due, h.node.Held), silent)
	h.log.Info("the audience comes back", "mode", string(map[bool]ComebackMode{true: ComebackSilent, false: ComebackReload}[silent]),
		"visitors", d.due, "after", h.now.Sub(d.fault.t0).Round(time.Millisecond), "over", d.window.Round(time.Millisecond))
	d.tellSome(h)
}

// tellSome tells as many as are due by now.
func (d *hold) tellSome(h *Room) {
	due := d.due
	if passed := h.now.Sub(d.began); passed < d.window {
		due = 1 + int(float64(d.due-1)*float64(passed)/float64(d.window))
	}
	told := d.due - d.untold // or gone
	for ; d.next < len(d.order) && told < due; d.next++ {
		if v := d.order[d.next]; !v.away && v.told.IsZero() {
			d.tell(h, v)
			told++
		}
	}
	h.tellHolds()
}

// tell lets one visitor come back.
func (d *hold) tell(h *Room, v *heldVisitor) {
	v.told = h.now
	d.untold--
	if d.silent {
		public := h.pub.String()
		h.out.Deliver(v.o.session, v.room.presencePacket(fanout.Plain, v.o, nil, status{gone: true, self: true, destroy: public, venue: public}))
		d.drop(v)
		d.tally(h, fateSilent)
		return
	}
	h.out.Deliver(v.o.session, v.room.focusGone())
	d.tally(h, fateReload)
}

func (d *hold) tally(h *Room, f fate) {
	d.became[f]++
	h.metrics.audience(f).Inc()
}

func (d *hold) drop(v *heldVisitor) {
	if v.told.IsZero() {
		d.untold--
	}
	v.away = true
	delete(d.visitors, v.o.session)
}

// gone takes a session out that left or was lost.
func (d *hold) gone(h *Room, s Session) {
	v := d.visitors[s]
	if v == nil {
		return
	}
	if v.told.IsZero() {
		d.tally(h, fateLeft)
	}
	d.drop(v)
	h.tellHolds()
}

// hurry ends the streams of pages that have not reloaded in time.
func (d *hold) hurry(h *Room) {
	for _, v := range d.order {
		if !v.away && !v.told.IsZero() && h.now.Sub(v.told) >= reloadWithin {
			d.drop(v)
			h.out.HangUp(v.o.session)
		}
	}
}

// giveUp tells those who are left that the conference has ended.
func (d *hold) giveUp(h *Room, why string) {
	n := 0
	for _, v := range d.order {
		if v.away || !v.told.IsZero() {
			continue
		}
		h.out.Deliver(v.o.session, v.room.presencePacket(fanout.Plain, v.o, nil, status{gone: true, self: true, destroy: endMain.text()}))
		d.drop(v)
		d.tally(h, fateGaveUp)
		n++
	}
	for _, w := range h.waiting.take() {
		h.hangUp(w.session)
	}
	h.log.Warn("the audience was told that the conference has ended", "why", why, "visitors", n,
		"jicofo_logged_in", h.focusIn.In, "main_has_the_room", d.exists)
	h.tellHolds()
}

// sendOff tells all that the focus is gone: the node takes no more conferences.
func (d *hold) sendOff(h *Room) {
	d.silent = false
	for _, v := range d.order {
		if !v.away && v.told.IsZero() {
			d.tell(h, v)
		}
	}
	h.tellHolds()
}

// waitsFor is what has to happen before the visitors are told to come back.
func (d *hold) waitsFor(h *Room) string {
	switch {
	case d.phase == telling:
		return "they are being told to come back"
	case !h.focusIn.In:
		return "jicofo must log in"
	case !d.exists:
		return "the participants must return to the room on the main server"
	}
	if d.counted {
		return fmt.Sprintf("%d of %d participants are back", min(d.present, d.missed), d.missed)
	}
	return "the participants must have had time to return"
}

// close tells what became of the audience.
func (d *hold) close(h *Room) {
	parts := make([]string, 0, fates)
	for f := range fates {
		if d.became[f] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", d.became[f], f))
		}
	}
	h.log.Info("nobody is held any more", "why", d.fault.why, "became", strings.Join(parts, ", "), "after", h.now.Sub(d.since).Round(time.Millisecond))
	h.out.Holds(0, "")
}

// fromAudience handles a stanza of a visitor that is held; false: it is for the
// room that lives now, or waits for one.
func (h *Room) fromAudience(from Session, st *wire.Stanza) bool {
	switch string(st.Name) {
	case "presence":
		return h.presenceOfAudience(from, st)
	case "message":
		if st.To.Domain == h.domains.Polls || st.To.Domain == h.domains.Files {
			h.refuse(from, st, errHeldVote)
			return true
		}
		h.refuse(from, st, errHeldChat.From(h.pub.String()))
	case "iq":
		if st.Answerable() { // an error would make the page reload
			h.reply(from, wire.AppendResult(nil, &st.Header, wire.NSClient, from.JID().String(), nil))
		}
	}
	return true
}

// presenceOfAudience takes a held visitor's leave, and lets one that joins anew
// go on as one that was not here. Whatever else it shows is lost with its page.
func (h *Room) presenceOfAudience(from Session, st *wire.Stanza) bool {
	switch string(st.Type) {
	case "unavailable":
		nick := h.held.visitors[from].o.nick
		h.held.gone(h, from)
		h.out.Deliver(from, h.selfGone(from, nick))
	case "":
		if _, joins := st.Child(wire.NSMUC, "x"); joins {
			h.held.gone(h, from)
			return false
		}
	}
	return true
}
