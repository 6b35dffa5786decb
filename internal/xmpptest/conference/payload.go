package conference

import (
	"strconv"
	"strings"

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
// 1 KB with its sources, a third of it muted or not, padded if that is less
// than size. A zero stamp is left out.
func appendPresence(b *wire.Builder, nick, name string, muted bool, st Stamp, size int) {
	const natural = 1000 // and what main's and the node's rooms add
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
	if size > natural {
		b.Elem("pad", strings.Repeat("x", size-natural), "xmlns", stampSpace)
	}
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

// VisitorPresence is the stanza a visitor joins a room with, by its bare JID,
// under that nick.
func VisitorPresence(room, nick, name string) []byte {
	b := wire.NewBuilder(nil).Start("presence", "xmlns", wire.NSClient, "to", room+"/"+nick)
	appendVisitorPresence(b, nick, name)
	return b.Bytes()
}

// ChatLine publishes a line of the source's and returns the stanza that says it
// in the room, by its bare JID, padded to about size bytes.
func ChatLine(src *Source, room, name string, due int64, size int) []byte {
	st := src.PublishDue(Chat, due)
	id := "bench-" + strconv.Itoa(st.Source) + "-" + strconv.FormatUint(st.Seq, 10)
	b := wire.NewBuilder(nil).Start("message", "xmlns", wire.NSClient, "type", "groupchat", "to", room, "id", id)
	return b.Elem("body", chatBody(name, st, size)).Bytes()
}

// chatBody is a line people could read, with its stamp, which makes a message
// of about size bytes if that is more than it is anyway.
func chatBody(name string, st Stamp, size int) string {
	const natural = 360 // the message around it, as a visitor gets it
	line := name + " says line " + strconv.FormatUint(st.Seq, 10) + " "
	return line + strings.Repeat("x", max(0, size-natural)) + st.String()
}
