package bench

import (
	"strconv"

	"vnode/internal/wire"
)

// Namespaces only the load speaks.
const (
	nsFocus  = "http://jitsi.org/protocol/focus"
	nsMeet   = "http://jitsi.org/jitmeet"
	nsCaps   = "http://jabber.org/protocol/caps"
	capsNode = "https://jitsi.org/jitsi-meet"
	capsVer  = "JoWq5vPVYxxeIMIWq1Zz0sb1Yvo="
)

// appendPresence builds what lib-jitsi-meet sends about a participant: about
// 1 KB with its sources, a third of it muted or not. A zero stamp is left out.
func appendPresence(b *wire.Builder, nick, name string, muted bool, st Stamp) {
	b.Elem("stats-id", "Bench-"+nick)
	b.Elem("c", "", "xmlns", nsCaps, "hash", "sha-1", "node", capsNode, "ver", capsVer)
	b.Elem("SourceInfo", sourceInfo(nick, muted))
	b.Elem("jitsi_participant_codecList", "av1,vp9,vp8,h264")
	b.Elem("jitsi_participant_region", "region-1")
	b.Elem("nick", name, "xmlns", wire.NSNick)
	b.Elem("audiomuted", strconv.FormatBool(muted))
	b.Elem("videomuted", "false")
	b.Start("features")
	for _, f := range []string{"https://jitsi.org/meet/e2ee", "urn:xmpp:jingle:apps:rtp:audio", "urn:xmpp:jingle:apps:rtp:video"} {
		b.Elem("feature", "", "var", f)
	}
	b.End()
	appendStamp(b, st)
}

func appendStamp(b *wire.Builder, st Stamp) {
	if st.Seq > 0 {
		b.Elem("stamp", st.String(), "xmlns", stampSpace)
	}
}

// sourceInfo is the JSON of lib-jitsi-meet's SourceInfo for one microphone and
// one camera.
func sourceInfo(nick string, muted bool) string {
	m := strconv.FormatBool(muted)
	return `{"` + nick + `-a0":{"muted":` + m + `,"codec":"opus"},"` +
		nick + `-v0":{"muted":false,"videoType":"camera","codec":"vp9"}}`
}

// appendVisitorPresence is what a visitor joins with.
func appendVisitorPresence(b *wire.Builder, nick, name string) {
	b.Elem("x", "", "xmlns", wire.NSMUC)
	b.Elem("stats-id", "Bench-"+nick)
	b.Elem("c", "", "xmlns", nsCaps, "hash", "sha-1", "node", capsNode, "ver", capsVer)
	b.Elem("SourceInfo", "{}")
	b.Elem("jitsi_participant_codecList", "av1,vp9,vp8,h264")
	b.Elem("nick", name, "xmlns", wire.NSNick)
}

// chatBody is a line people could read, with its stamp.
func chatBody(name string, st Stamp) string {
	return name + " says line " + strconv.FormatUint(st.Seq, 10) + " " + st.String()
}
