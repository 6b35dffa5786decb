package setup

import (
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/packaging/vnode@.service anew")

// The unit of the packages is the one that set-up writes where there is no package.
func TestPackagedUnit(t *testing.T) {
	const path = "../../../docs/packaging/vnode@.service"
	want, err := render("unit", map[string]any{"Etc": "/etc/vnode", "Binary": "/usr/bin/vnode", "Default": "/etc/default/vnode"})
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
	}
	require.Equal(t, want, read(t, path), "run this test with -update")
}
