package room

import (
	"encoding/xml"

	"vnode/internal/wire"
)

// visitorsIQ is the payload by which main governs a room.
type visitorsIQ struct {
	Room       string   `xml:"room,attr"`
	Connect    *control `xml:"jitsi:visitors connect"`
	Update     *control `xml:"jitsi:visitors update"`
	Disconnect *control `xml:"jitsi:visitors disconnect"`

	Promotion *struct {
		JID string `xml:"jid,attr"`
	} `xml:"jitsi:visitors promotion-response"`
}

// control is the state of the main room: connect and update carry it whole.
type control struct {
	Password   string `xml:"password,attr"` // "" for none
	Lobby      string `xml:"lobby,attr"`
	MeetingID  string `xml:"meetingId,attr"`
	Created    string `xml:"createdTimestamp,attr"`
	Anonymous  string `xml:"allowUnauthenticatedAccess,attr"`
	Moderators []struct {
		Nick string `xml:"epId,attr"`
	} `xml:"jitsi:visitors moderators>item"`

	// Of update only.
	Polls *struct {
		JSON string `xml:",chardata"`
	} `xml:"jitsi:visitors polls"`
	Files *struct {
		File []struct {
			ID   string `xml:"id,attr"`
			JSON string `xml:",chardata"`
		} `xml:"jitsi:visitors file"`
	} `xml:"jitsi:visitors files"`
}

// maxModerators bounds the nicks a room remembers as moderators'; main tells
// of some hundreds at most.
const maxModerators = 10000

// ParseVisitorsIQ reads an IQ that has a <visitors/> payload; ok is false when
// it has none or it cannot be read.
func ParseVisitorsIQ(st *wire.Stanza) (q visitorsIQ, ok bool) {
	c, ok := st.Child(wire.NSVisitors, "visitors")
	if ok {
		ok = xml.Unmarshal(c.Raw, &q) == nil
	}
	return q, ok
}

// remoteIQ handles another server's IQ in the room's matter.
func (r *conference) remoteIQ(st *wire.Stanza) {
	if !st.Answerable() {
		r.mainAnswered(st)
		return
	}
	q, ok := ParseVisitorsIQ(st)
	switch {
	case !ok || string(st.Type) != "set" || st.To.Local != "":
		// Participants have nothing to ask of a node.
		r.refuseRemote(st, wire.ErrServiceUnavailable)
	case q.Promotion != nil:
		r.promotion(st, &q)
	default:
		r.govern(st, &q)
	}
}

// govern carries out what main tells about its room.
func (r *conference) govern(st *wire.Stanza, q *visitorsIQ) {
	if (st.From != wire.JID{Domain: r.domains.Main}) {
		r.log.Warn("visitors iq refused", "peer", st.From.String())
		r.refuseRemote(st, ErrNotFromMain)
		return
	}
	switch {
	case q.Disconnect != nil:
		r.answerRemote(st)
		r.end(endMain, "")
	case q.Connect != nil:
		r.answerRemote(st)
		r.apply(q.Connect)
		r.log.Info("main connected the room", "waiting", r.queue.joins())
		r.open()
	case q.Update != nil:
		r.answerRemote(st)
		r.apply(q.Update)
		r.share(q.Update)
		r.link.updated = r.now
	default:
		r.refuseRemote(st, wire.ErrBadRequest)
	}
}

// open lets visitors in: main has sent its participants.
func (r *conference) open() {
	r.connected = true
	r.disarm(alarmConnect)
	r.reconcile()
	r.replayEarly()
	r.advance()
}

func (r *conference) apply(c *control) {
	r.disarm(alarmMain)
	r.password = c.Password
	if c.MeetingID != "" {
		r.meets(c.MeetingID)
	}
	r.created = digits(c.Created)
	switch c.Lobby {
	case "true":
		r.lobby = true
	case "false":
		r.lobby = false
	}
	switch c.Anonymous {
	case "true":
		r.authOnly = false
	case "false":
		r.authOnly = true
	}
	for _, m := range c.Moderators {
		if m.Nick != "" && len(r.moderators) < maxModerators {
			r.moderators[m.Nick] = true
		}
	}
	r.grant()
}

// digits returns s if it is a decimal number of a sensible length, else "".
func digits(s string) string {
	if len(s) > 19 {
		return ""
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return ""
		}
	}
	return s
}
