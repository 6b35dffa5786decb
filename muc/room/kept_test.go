package room

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
)

// visitorPresence is what a visitor with that browser and name joins with.
func visitorPresence(nick, name, codecs string) []byte {
	return fmt.Appendf(nil, "<presence xmlns='jabber:client' to='%s/%s'><x xmlns='%s'/><stats-id>Harness-%s</stats-id>"+
		"<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='https://jitsi.org/jitsi-meet' ver='JoWq5vPVYxxeIMIWq1Zz0sb1Yvo='/>"+
		"<SourceInfo>{}</SourceInfo><jitsi_participant_codecList>%s</jitsi_participant_codecList><nick xmlns='%s'>%s</nick></presence>",
		simRoom, nick, wire.NSMUC, nick, codecs, wire.NSNick, name)
}

// keepOf keeps a presence as a room does.
func keepOf(t testing.TB, shapes *shapes, stanza []byte) (kept, payload) {
	t.Helper()
	var parts [][]byte
	said := readPayload(parse(t, stanza), func(c *wire.Child) bool {
		parts = append(parts, c.Raw)
		return true
	})
	c, _ := wire.FindChild(stanza, wire.NSNick, "nick")
	return shapes.keep(&said, parts, c.Text()), said
}

func requireSame(t *testing.T, said payload, k kept) {
	t.Helper()
	got := k.payload()
	require.Equal(t, said.id, got.id)
	require.Equal(t, said.lang, got.lang)
	require.Equal(t, string(said.attrs), string(got.attrs))
	require.Equal(t, string(said.children), string(got.children))
}

// Whatever visitors say, and in whatever order, what is kept of each is what it
// said.
func TestKeptPresencesAreWhatWasSaid(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(of ...string) string { return of[r.IntN(len(of))] }
	var shapes shapes
	type one struct {
		name string
		said payload
		kept kept
	}
	var all []one
	for i := range 500 {
		name := pick("", "Ada", "Ada", "Grace &amp; Co", fmt.Sprint("Visitor ", i))
		stanza := fmt.Sprintf("<presence%s%s>", pick("", " id='4711'"), pick("", " xml:lang='de'", " xmlns:q='urn:q'"))
		for range r.IntN(4) {
			stanza += pick("<a/>", "<c hash='sha-1' node='https://jitsi.org/jitsi-meet' ver='JoWq5vPVYxxeIMIWq1Zz0sb1Yvo='/>",
				"<list>av1,vp9,vp8,h264,av1,vp9,vp8,h264,av1,vp9,vp8,h264</list>", fmt.Sprintf("<own>%d</own>", i))
		}
		stanza += "<nick xmlns='" + wire.NSNick + "'>" + name + "</nick></presence>"
		k, said := keepOf(t, &shapes, []byte(stanza))
		all = append(all, one{wire.Unescape([]byte(name)), said, k})
	}
	for _, o := range all {
		requireSame(t, o.said, o.kept)
		require.Equal(t, o.name, o.kept.name())
	}
}

// Of visitors with the same clients only the names are kept for each, however
// the clients follow one another.
func TestAlikePresencesAreKeptOnce(t *testing.T) {
	var shapes shapes
	own := 0
	const n = 300
	for i := range n {
		codecs := []string{"av1,vp9,vp8,h264", "vp8,h264", "vp9,vp8"}[i%3*(i/30%2)]
		k, _ := keepOf(t, &shapes, visitorPresence(fmt.Sprintf("%08x", i), fmt.Sprint("Visitor ", i), codecs))
		own += len(k.own)
	}
	require.Less(t, own/n, 160)
}

// What has nothing in common is kept whole, and costs nobody else his shape.
func TestOddPresencesLeaveTheShapesAlone(t *testing.T) {
	var shapes shapes
	usual := func(i int) kept {
		k, _ := keepOf(t, &shapes, visitorPresence(fmt.Sprintf("%08x", i), "name", "vp8"))
		return k
	}
	usual(0)
	shape := usual(1).shape
	for i := range 100 {
		k, said := keepOf(t, &shapes, fmt.Appendf(nil, "<presence><odd%d>%0500d</odd%d></presence>", i, i, i))
		requireSame(t, said, k)
	}
	require.Same(t, shape, usual(2).shape)
}

// A visitor that has said nothing has no name.
func TestNothingKept(t *testing.T) {
	var k kept
	require.Empty(t, k.name())
}

// There are thousands of these: one more field is a size class more.
func TestSizeOfAnOccupant(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(occupant{}), uintptr(96))
}
