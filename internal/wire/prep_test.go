package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Names of rooms as people give them, and what the main server makes of them.
// That Prosody makes the same is TestNamesAreProsodysNames.
func TestNamesOfRooms(t *testing.T) {
	for name, want := range map[string]string{
		"1täst": "1täst", "2024-größe": "2024-grösse", "GRÖSSE": "grösse", "[täst]room": "[täst]room", "[Täst]Größe": "[täst]grösse",
		"1t%C3%A4st": "1t%c3%a4st", "%E2%80%AE": "%e2%80%ae", "ΣΊΣΥΦΟΣ": "σίσυφοσ", "İstanbul": "i̇stanbul",
		"غرفة": "غرفة", "[acme]غرفة": "[acme]غرفة", "[عربي]room": "[عربي]room", "חדר-ישיבות": "חדר-ישיבות",
		"ห้องประชุม": "ห้องประชุม", "会議室": "会議室", "ｶﾀｶﾅ": "カタカナ", "部屋１": "部屋1", "नमस्ते": "नमस्ते",
		"🎉Party": "🎉party", "👩‍💻": "👩💻", "❤️": "❤", "e\u0301": "é", "a\u0323\u0308": "ạ̈", "🄰": "🄰", "ﬁnal": "final",
	} {
		j, err := ParseJID(name + "@conference.v3.meet.jitsi")
		require.NoError(t, err, name)
		require.Equal(t, want, j.Local)
		again, err := ParseJID(j.String())
		require.NoError(t, err)
		require.Equal(t, j, again)
	}
	for _, name := range []string{"חדר2", "abcחדר", "1غرفة", "\u200fabc", "a＠b", "a／b", "a\u00a0b", "\ue000", "\u00ad", "a\u2028b", "[عربيx]room", "[acme]غرفةx"} {
		_, err := ParseJID(name + "@conference.v3.meet.jitsi")
		require.ErrorIs(t, err, ErrJID, "%q", name)
	}
}

// Tenants are labels of a domain.
func TestNamesOfTenants(t *testing.T) {
	for tenant, want := range map[string]string{
		"täst": "täst", "GRÖSSE": "grösse", "größe": "grösse", "عربي": "عربي", "ไทย": "ไทย", "日本": "日本", "🎉": "🎉", "my_tenant": "my_tenant", "t%C3%A4st": "t%c3%a4st",
	} {
		j, err := ParseJID("room@conference." + tenant + ".v3.meet.jitsi")
		require.NoError(t, err, tenant)
		require.Equal(t, "conference."+want+".v3.meet.jitsi", j.Domain)
	}
	for _, tenant := range []string{"عربيx", "a．", "a＠b", "x\u00a0y", "\u00ad"} {
		_, err := ParseJID("room@conference." + tenant + ".v3.meet.jitsi")
		require.ErrorIs(t, err, ErrJID, "%q", tenant)
	}
}

// Nicks, and all other resources, keep their letter case.
func TestNamesOfResources(t *testing.T) {
	for name, want := range map[string]string{
		"Größe": "Größe", "👩\u200d💻": "👩💻", "👨\u200d👩\u200d👧\u200d👦": "👨👩👧👦", "❤\ufe0f": "❤", "🏳\ufe0f\u200d🌈": "🏳🌈", "🇩🇪": "🇩🇪", "👍🏽": "👍🏽", "🫩": "🫩",
		"e\u0301": "é", "Z\u0351\u036b\u0343a": "Z\u0351\u036b\u0313a", "a\u00a0b": "a b", "Ｇｒｏ": "Gro", "①": "1", " ä ": " ä ", "ä@b/c": "ä@b/c",
		"حسن": "حسن", "דָּנָה": "דָּנָה", "สมชาย": "สมชาย", "क\u094d\u200dष": "क\u094dष", "می\u200cخواهم": "میخواهم",
	} {
		j, err := ParseJID("room@conference.v3.meet.jitsi/" + name)
		require.NoError(t, err, name)
		require.Equal(t, want, j.Resource)
		again, err := ParseJID(j.String())
		require.NoError(t, err)
		require.Equal(t, j, again)
	}
	for _, name := range []string{"חדר2", "abcחדר", "\u200fabc", "\ue000", "\u00ad", "\u200d", "ä\u2028b", "ä\tb", "ä\ufffd"} {
		_, err := ParseJID("room@conference.v3.meet.jitsi/" + name)
		require.ErrorIs(t, err, ErrJID, "%q", name)
	}
}
