package parsers

import (
	"errors"
	"os"
	"strconv"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vnode/internal/wire"
	"vnode/internal/xmpptest/browser"
	"vnode/internal/xmpptest/hostile"
	"vnode/internal/xmpptest/needs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Whatever the check accepts, everybody around a room can read: as it was sent,
// as the node addresses it, and as a Prosody between them writes it again. And
// no more than that ends a stream: what the check calls ill-formed, expat does
// too. VNODE_STANZAS=100000 tries more than the usual number.
func TestWhatIsAcceptedEverybodyCanRead(t *testing.T) {
	needs.Programs(t, "prosody", "chromium")
	n := 4000
	if s := os.Getenv("VNODE_STANZAS"); s != "" {
		var err error
		n, err = strconv.Atoi(s)
		require.NoError(t, err)
	}
	var accepted, illFormed []string
	dropped := map[wire.Violation]int{}
	for _, s := range hostile.Generate(1, n) {
		switch v, err := wire.Judge([]byte(s), wire.Limits{}); {
		case err == nil && v == 0:
			accepted = append(accepted, s, addressed(t, s))
		case err == nil:
			dropped[v]++
		default:
			illFormed = append(illFormed, s)
		}
	}
	t.Logf("%d accepted, %d ill-formed, dropped: %v", len(accepted)/2, len(illFormed), dropped)
	require.Greater(t, len(accepted), n/2)
	require.Greater(t, len(illFormed), n/20)
	require.Greater(t, len(dropped), 10)

	rewritten, err := Prosody(accepted)
	require.NoError(t, err)
	for i, s := range rewritten {
		require.NotEmpty(t, s, "Prosody cannot read %q", accepted[i])
		require.NoError(t, wire.Check([]byte(s), wire.Limits{}), "%q, as Prosody writes %q", s, accepted[i])
	}
	again, err := Prosody(rewritten)
	require.NoError(t, err)
	for i, s := range again {
		require.NotEmpty(t, s, "Prosody cannot read %q, which it has written", rewritten[i])
	}
	all := append(accepted, rewritten...)
	complaints, err := Chromium(browser.Run(t).Tab(t), all)
	require.NoError(t, err)
	requireNone(t, all, complaints)
	complaints, err = JDK(all)
	if errors.Is(err, ErrNoJava) {
		t.Log("not tried with the JDK: ", err)
	} else {
		require.NoError(t, err)
		requireNone(t, all, complaints)
	}

	read, err := Expat(illFormed)
	require.NoError(t, err)
	for i, s := range read {
		require.Empty(t, s, "the check ends a stream for %q", illFormed[i])
	}
}

// addressed is a stanza as the node passes it on.
func addressed(t *testing.T, s string) string {
	t.Helper()
	h, err := wire.ParseHeader([]byte(s))
	require.NoError(t, err)
	out := h.AppendStamped(nil, []byte(s), wire.Stamp{
		Space: wire.NSClient, To: "a@v3.meet.jitsi/r", From: "r@conference.v3.meet.jitsi/it's", ID: "i", Type: "set", Lang: "en",
	})
	require.NoError(t, wire.Check(out, wire.Limits{}), "%q", out)
	return string(out)
}

func requireNone(t *testing.T, stanzas, complaints []string) {
	t.Helper()
	require.Equal(t, len(stanzas), len(complaints))
	for i, c := range complaints {
		require.Empty(t, c, "%q", stanzas[i])
	}
}

// Each kind is one that somebody refuses or misreads, or a limit; each is what
// it says it is.
func TestKindsAreWhatTheySay(t *testing.T) {
	for _, k := range hostile.Kinds() {
		s := "<message xmlns='jabber:client'>" + k.Children + "</message>"
		require.True(t, utf8.ValidString(s))
		v, err := wire.Judge([]byte(s), wire.Limits{})
		require.NoError(t, err, k.Name)
		require.Equal(t, k.Reason, v.String(), k.Name)
	}
}

// The parsers do differ: if none of them refused anything, nothing would be
// proved by what they accept.
func TestParsersRefuse(t *testing.T) {
	needs.Programs(t, "prosody", "chromium")
	ask := []string{"<a xmlns='urn:x'/>", "<\u2070/>", "<a xmlns='xmlns'/>", "<a>", "<xml:a/>"}
	rewritten, err := Prosody([]string{"<message><a/></message>", "<message><\u2070/></message>", "<message>", "<message><xml:a/></message>"})
	require.NoError(t, err)
	require.Equal(t, "<message xml:lang='en'><a/></message>", rewritten[0])
	require.Empty(t, rewritten[1])
	require.Empty(t, rewritten[2])
	require.Contains(t, rewritten[3], "xmlns='http://www.w3.org/XML/1998/namespace'")
	complaints, err := Chromium(browser.Run(t).Tab(t), ask)
	require.NoError(t, err)
	require.Empty(t, complaints[0])
	require.NotEmpty(t, complaints[3])
	if complaints, err = JDK(ask); errors.Is(err, ErrNoJava) {
		return
	}
	require.NoError(t, err)
	require.Empty(t, complaints[0])
	require.NotEmpty(t, complaints[1])
	require.NotEmpty(t, complaints[3])
}
