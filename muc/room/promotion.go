package room

import (
	"strconv"
	"strings"

	"vnode/internal/wire"
)

// Children of a visitor's presence that ask something of main.
const (
	raisedHand      = "jitsi_participant_raisedHand"
	wantsTranscript = "jitsi_participant_requestingTranscription"
	translateTo     = "jitsi_participant_translation_language"
)

// noticeRequests tells main what a visitor's presence asks for: promotion, on
// every presence that says anything of the hand, and transcription, when it
// changed.
func (r *conference) noticeRequests(o *occupant, st *wire.Stanza) {
	var hand, transcript, language string
	spoke := false
	for c := range st.Children() {
		if c.Space != "" {
			continue
		}
		switch c.Local {
		case raisedHand:
			hand, spoke = c.Text(), true
		case wantsTranscript:
			transcript = c.Text()
		case translateTo:
			language = languageTag(c.Text())
		}
	}
	if o.hand = hand != ""; spoke {
		r.showHand(o, hand)
	}
	if transcript != "true" {
		language = ""
	} else if language == "" {
		language = r.cfg.TranscriptionLanguage
	}
	r.transcribe(o, language)
}

// languageTag returns s if it looks like one (RFC 5646 §2.1), else "": main
// gets the tags of all visitors in one list with commas between.
func languageTag(s string) string {
	if len(s) > 35 { // §4.4.1
		return ""
	}
	for _, c := range []byte(s) {
		if c != '-' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return ""
		}
	}
	return s
}

// forgetRequests takes back what a visitor that left asked for.
func (r *conference) forgetRequests(o *occupant) {
	o.hand = false
	r.lowerHand(o)
	r.transcribe(o, "")
}

func (r *conference) requestPromotion(o *occupant, time string) {
	user, group, force := r.claims(o)
	r.toVisitorsComponent(func(b *wire.Builder) {
		b.Start("promotion-request", "jid", o.jid().String(), "time", time).Attr("userId", user).Attr("groupId", group)
		b.Attr("forcePromote", strconv.FormatBool(force)).End()
		if name := o.name(); name != "" {
			b.Elem("nick", name, "xmlns", wire.NSNick)
		}
	})
}

// customerTenant begins the tenants of Jitsi as a service, where the token says
// who moderates.
const customerTenant = "vpaas-magic-cookie-"

// claims is what a visitor's token lets the room say of it with a raised hand,
// and whether it asks main to promote the visitor without a moderator's word.
// Main looks at the ids when its room has a list of moderators.
func (r *conference) claims(o *occupant) (user, group string, force bool) {
	id := o.flow.who.Identity
	if id == nil {
		return "", "", false
	}
	tenant, _ := wire.CutTenant(r.addr.Local)
	if strings.HasPrefix(tenant, customerTenant) {
		return "", "", id.Moderator
	}
	if id.UserID == "" {
		return "", "", false
	}
	return id.UserID, id.GroupID, !r.cfg.NoTokenPromotion && (id.TenantMatches || tenant == "")
}

// toVisitorsComponent sends main's visitors component an IQ about the main
// room, from the node's own domain.
func (r *conference) toVisitorsComponent(content func(*wire.Builder)) {
	if r.cfg.MainWithoutConnect {
		return // it has no such component
	}
	d := r.domains
	b := wire.NewBuilder(nil).Start("iq", "type", "set", "from", d.Host, "to", d.Visitors, "id", r.newID())
	b.Start("visitors", "xmlns", wire.NSVisitors, "room", r.main.String())
	content(b)
	r.out.Tell(d.Host, d.Visitors, b.Bytes())
}

// promotion forwards main's answer to a raised hand, from the room. The
// client sends no result: the node has answered for it.
func (r *conference) promotion(st *wire.Stanza, q *visitorsIQ) {
	if (st.From != wire.JID{Domain: r.domains.Visitors}) {
		r.log.Warn("promotion refused", "peer", st.From.String())
		r.refuseRemote(st, ErrNotFromMain)
		return
	}
	r.answerRemote(st)
	to, err := wire.ParseJID(q.Promotion.JID)
	if err != nil {
		return
	}
	if o := r.jids.Get(to); o != nil && o.kind == visitor {
		r.reply(o.session, st.AppendStamped(nil, st.Raw, wire.Stamp{
			Space: wire.NSClient, To: o.jid().String(), From: r.pub.String(),
			ID: wire.Unescape(st.ID), Type: "set", Lang: wire.Unescape(st.Lang),
		}))
	}
}
