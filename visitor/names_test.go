package visitor

import (
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// A join to a room that nobody can have is answered, with jid-malformed as by the
// visitor prosody; it does not wait. Names of all scripts are handed on.
func TestNamesOfRooms(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, h *house) {
		p := h.websocket().visitor()
		for _, room := range []string{"חדר2", "abcחדר", "a＠b", "x&#xa0;y", "&#x200f;abc"} {
			p.send("<presence xmlns='jabber:client' id='j' to='" + room + "@conference.v3.meet.jitsi/n'><x xmlns='http://jabber.org/protocol/muc'/></presence>")
			require.Contains(t, p.next(), "<jid-malformed ", room)
		}
		require.Empty(t, h.handled())
		rooms := map[string]string{"1täst": "1täst", "2024-GRÖßE": "2024-grösse", "[täst]room": "[täst]room", "غرفة": "غرفة", "חדר-ישיבות": "חדר-ישיבות",
			"ห้อง": "ห้อง", "会議室": "会議室", "🎉party": "🎉party", "e&#x301;": "é", "1t%C3%A4st": "1t%c3%a4st"}
		for room, want := range rooms {
			p.send("<presence xmlns='jabber:client' to='" + room + "@conference.v3.meet.jitsi/n'/>")
			synctest.Wait()
			all := h.handled()
			require.NotEmpty(t, all, room)
			require.Contains(t, all[len(all)-1], "-> "+want+"@conference.v3.meet.jitsi/n:")
		}
		require.Len(t, h.handled(), len(rooms))
		p.leave()
	})
}
