package trust

import (
	"crypto/x509"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// cert stands for a certificate: nothing here looks at more than its bytes.
func cert(raw string) *x509.Certificate { return &x509.Certificate{Raw: []byte(raw)} }

func TestKnownCertificatesSurviveARestart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "known_certs")
	k, err := Open(path)
	require.NoError(t, err)
	one, two := Of(cert("one")), Of(cert("two"))
	require.NoError(t, k.Learn("main.example", one))
	require.NoError(t, k.Learn("main.example", two))
	require.NoError(t, k.Learn("conference.main.example", one))

	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("conference.main.example 0123") // a crash in the middle of a line
	require.NoError(t, err)
	require.NoError(t, f.Close())

	again, err := Open(path)
	require.NoError(t, err)
	require.Equal(t, map[string]Fingerprint{"main.example": two, "conference.main.example": one}, again.certs)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

// A directory where the file should be is an error, and what is learned then is
// known all the same.
func TestAFileThatCannotBeUsed(t *testing.T) {
	_, err := Open(t.TempDir())
	require.Error(t, err)
	k := &Known{path: t.TempDir(), certs: map[string]Fingerprint{}}
	require.Error(t, k.Learn("main.example", Of(cert("one"))))
	seen, ok := k.Get("main.example")
	require.True(t, ok)
	require.Equal(t, Of(cert("one")), seen)
}

func TestPinsAreFingerprints(t *testing.T) {
	pin := strings.ToUpper(Of(cert("main")).String())
	p, err := Config{Pins: []string{pin[:2] + ":" + pin[2:]}, Strict: true}.Compile()
	require.NoError(t, err)
	known, err := Open("")
	require.NoError(t, err)
	nobody := func() bool { return false }
	require.Equal(t, "pinned certificate", p.Vouch(known, []*x509.Certificate{cert("main")}, "main.example", nobody))
	require.Empty(t, p.Vouch(known, []*x509.Certificate{cert("other")}, "main.example", nobody))
	for _, bad := range []string{"", "sha1", "00:11"} {
		_, err := Config{Pins: []string{bad}}.Compile()
		require.ErrorContains(t, err, "not a SHA-256 fingerprint")
	}
}
