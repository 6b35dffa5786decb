package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A copy of a stanza is the same in memory of its own, whatever becomes of the
// original's.
func TestCloneOfAStanza(t *testing.T) {
	for _, text := range []string{
		"<message xmlns='jabber:client' from='a@b/c' to='d@e' id='&lt;' type='groupchat' xml:lang='en' x:y='z' xmlns:x='urn:x'><body>x</body></message>",
		"<presence to=''/>", "<iq/>",
	} {
		buf := append(append(make([]byte, 0, 500), "before"...), text...)
		s, err := ParseStanza(buf[len("before"):])
		require.NoError(t, err)
		want, err := ParseStanza([]byte(text))
		require.NoError(t, err)
		c := s.Clone()
		for i := range buf {
			buf[i] = '!'
		}
		require.Equal(t, want, c)
		for _, part := range [][]byte{c.Name, c.Space, c.Header.To, c.ID, c.attrs} {
			if len(part) > 0 {
				require.Contains(t, text, string(part))
			}
		}
	}
}

// Parts that are not of the stanza's memory are kept, too.
func TestCloneKeepsWhatWasPutIn(t *testing.T) {
	s, err := ParseStanza([]byte("<message to='a@b'/>"))
	require.NoError(t, err)
	other := []byte("c@d")
	s.Header.To = other
	c := s.Clone()
	other[0] = '!'
	require.Equal(t, "c@d", string(c.Header.To))
}

func TestChildrenOfAStanza(t *testing.T) {
	s, err := ParseStanza([]byte("<iq xmlns:q='urn:q'><q:a/>text<b xmlns='urn:b'/></iq>"))
	require.NoError(t, err)
	c, ok := s.FirstChild()
	require.True(t, ok)
	require.Equal(t, "urn:q", c.Space)
	_, ok = s.Child("urn:b", "b")
	require.True(t, ok)
	_, ok = s.Child("urn:b", "a")
	require.False(t, ok)
}

func TestWhatIsAStanza(t *testing.T) {
	for text, want := range map[string][2]bool{ // of jabber:client, and of that or of no namespace
		"<iq/>":                             {true, true},
		"<message xmlns='jabber:client'/>":  {true, true},
		"<presence xmlns='jabber:server'/>": {false, false},
		"<presence xmlns=''/>":              {false, true},
		"<r xmlns='jabber:client'/>":        {false, false},
		"<c:iq xmlns:c='jabber:client'/>":   {false, false},
	} {
		h, err := ParseHeader([]byte(text))
		require.NoError(t, err)
		require.Equal(t, want, [2]bool{h.IsStanza(NSClient), h.IsStanza(NSClient, "")}, text)
	}
}

func TestTheTenantOfARoom(t *testing.T) {
	for local, want := range map[string][2]string{
		"demo": {"", "demo"}, "[acme]demo": {"acme", "demo"}, "[a]b]c": {"a", "b]c"},
		"[demo": {"", "[demo"}, "[]demo": {"", "[]demo"}, "[acme]": {"", "[acme]"}, "": {},
	} {
		tenant, room := CutTenant(local)
		require.Equal(t, want, [2]string{tenant, room}, local)
		if tenant != "" {
			require.Equal(t, local, WithTenant(tenant, room))
		}
	}
}
