package state

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What a node makes up it finds again, and nobody else may read it.
func TestWhatIsMadeUpIsKept(t *testing.T) {
	d, err := Open(filepath.Join(t.TempDir(), "v3"))
	require.NoError(t, err)
	password, err := d.FocusPassword()
	require.NoError(t, err)
	token, err := d.AdminToken()
	require.NoError(t, err)
	cert, err := d.Certificate([]string{"v3.meet.jitsi"})
	require.NoError(t, err)
	require.NotEqual(t, password, token)
	files, err := os.ReadDir(string(d))
	require.NoError(t, err)
	require.Len(t, files, 5) // with known-certificates
	for _, f := range files {
		require.Equal(t, os.FileMode(0o600), mode(t, d.file(f.Name())), f.Name())
	}

	d, err = Open(string(d))
	require.NoError(t, err)
	again, err := d.FocusPassword()
	require.NoError(t, err)
	require.Equal(t, password, again)
	again, err = d.AdminToken()
	require.NoError(t, err)
	require.Equal(t, token, again)
	same, err := d.Certificate([]string{"v3.meet.jitsi"})
	require.NoError(t, err)
	require.Equal(t, cert.Certificate, same.Certificate)

	require.NoError(t, os.WriteFile(d.FocusPasswordFile(), []byte("\n"), 0o600))
	_, err = d.FocusPassword()
	require.ErrorContains(t, err, "is empty", "a mistake is not papered over")
}

func TestTheOwnCertificateIsRenewed(t *testing.T) {
	d, err := Open(filepath.Join(t.TempDir(), "v3"))
	require.NoError(t, err)
	certFile, keyFile := d.CertificateFiles()
	write := func(domains []string, life time.Duration) []byte {
		cert, key, err := selfSigned(domains, life)
		require.NoError(t, err)
		require.NoError(t, Write(certFile, cert))
		require.NoError(t, Write(keyFile, key))
		return cert
	}
	domains := []string{"v3.meet.jitsi", "conference.v3.meet.jitsi"}
	for name, c := range map[string]struct {
		domains []string
		life    time.Duration
		kept    bool
	}{
		"good":            {domains, certMargin + time.Hour, true},
		"soon at its end": {domains, certMargin - time.Hour, false},
		"lacks a domain":  {domains[:1], certLife, false},
	} {
		t.Run(name, func(t *testing.T) {
			before := write(c.domains, c.life)
			cert, err := d.Certificate(domains)
			require.NoError(t, err)
			for _, domain := range domains {
				require.NoError(t, cert.Leaf.VerifyHostname(domain))
			}
			after, err := os.ReadFile(certFile)
			require.NoError(t, err)
			require.Equal(t, c.kept, string(before) == string(after))
		})
	}
	require.NoError(t, os.WriteFile(keyFile, []byte("x"), 0o600))
	_, err = d.Certificate(domains)
	require.ErrorContains(t, err, "remove "+certFile+" and "+keyFile)
}
