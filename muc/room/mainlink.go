package room

import (
	"time"

	"vnode/internal/wire"
)

// Main goes and comes back: its process is restarted, or the network fails for
// a while. Visitors stay where they are meanwhile. What a room knows of main
// gets old at each loss of the streams: participants may have gone, or come,
// without a word of it arriving. When main connects the room anew it sends all
// participants again; who is not among them left.

// link is what a room knows of the streams to main.
type link struct {
	change  uint64    // the latest one, see [Service.MainLink]
	losses  uint64    // how often the streams were lost
	unsure  bool      // they were since main's last connect
	updated time.Time // when main's last update came
	back    time.Time // when the streams came back last; zero while they have not
	probe   string    // id of the question whether main still has the room; "" for none
}

// overtaking is how long before main's update a join may come that belongs to
// the connect behind it: Prosody 0.12 lets stanzas overtake others while a
// stream comes up, see [early].
const overtaking = 10 * time.Second

// mainLink takes a change of the streams to main: odd ones say that there are
// streams again, even ones that the last was lost.
func (r *conference) mainLink(now time.Time, change uint64) {
	if change <= r.link.change || r.ended != "" {
		return
	}
	r.now = now
	up, before := change%2 == 1, r.link.change
	r.link.change = change
	if before == 0 && up {
		return // the first streams of the node
	}
	if up {
		r.link.back = now
	}
	if !up || change > before+1 { // the second: lost, and back by now
		r.link.losses++
		r.link.unsure = r.connected
	}
	switch {
	case !r.connected:
	case up && r.cfg.MainWithoutConnect:
		r.disarm(alarmMain)
	case up:
		r.disarm(alarmMain)
		r.askMain()
		r.polls.Retry()
		r.tellVotes()
	default:
		r.log.Info("main is lost, visitors wait for it", "grace", r.cfg.MainGrace)
		r.arm(alarmMain, r.cfg.MainGrace)
	}
}

// askMain asks main whether it still has the room: a main that was restarted
// says nothing of the rooms it has forgotten. Where its rooms are hidden from
// strangers the answer is forbidden, which will do.
func (r *conference) askMain() {
	r.link.probe = r.newID()
	b := wire.NewBuilder(nil).Start("iq", "type", "get", "id", r.link.probe, "from", r.addr.String(), "to", r.main.String())
	r.out.Send(r.addr.Domain, r.main.Domain, b.Elem("query", "", "xmlns", wire.NSDisco).Bytes())
}

// mainAnswered handles main's answer to askMain.
func (r *conference) mainAnswered(st *wire.Stanza) {
	if r.link.probe == "" || st.From != r.main || wire.Unescape(st.ID) != r.link.probe {
		return
	}
	r.link.probe = ""
	r.noticeGone(st)
}

// noticeGone looks into an error of the main room's. One that says there is no
// such room gives main as long to make it again, and to connect it, as to come
// back itself.
func (r *conference) noticeGone(st *wire.Stanza) {
	if string(st.Type) != "error" || !r.connected || r.armed[alarmMain] {
		return
	}
	e, _ := st.Child("", "error")
	for c := range wire.Children(e.Raw) {
		if c.Space == wire.NSStanzas && (c.Local == "item-not-found" || c.Local == "gone") {
			r.log.Info("main has lost the room, visitors wait for it", "grace", r.cfg.MainGrace)
			r.arm(alarmMain, r.cfg.MainGrace)
			return
		}
	}
}

// confirm notes that main has sent the participant's join.
func (r *conference) confirm(o *occupant) {
	o.seen.confirmed = &confirmation{r.now, r.link.losses}
}

// reconcile lets those participants leave that main's connect has confirmed to
// be gone: they were not sent since its streams were lost, or not with this
// connect.
func (r *conference) reconcile() {
	since := r.link.updated.Add(-overtaking)
	for i := 0; i < len(r.participants); {
		o := r.participants[i]
		if c := o.seen.confirmed; c != nil && c.losses == r.link.losses && !c.at.Before(since) {
			i++
			continue
		}
		r.participantGone(o, nil) // takes it out of the list
	}
	r.link.unsure = false
}
