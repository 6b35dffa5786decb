package state

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A secret is what an editor shows of its file.
func TestSecretsAsEditorsWriteThem(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	for _, text := range []string{"p w", "p w\n", "p w\r\n", "\ufeffp w\r\n\r\n"} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		secret, err := Secret(path)
		require.NoError(t, err)
		require.Equal(t, "p w", secret, "%q", text)
	}
	for _, text := range []string{"", "\n", "\ufeff\r\n"} {
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := Secret(path)
		require.ErrorContains(t, err, "is empty", "%q", text)
	}
}
