package state

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// nobody owns nothing and is in no group.
const nobody = 65534

// varLib is a directory like /var/lib that everybody may pass.
func varLib(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "var/lib")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	return dir
}

func mode(t *testing.T, path string) os.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	require.NoError(t, err)
	return info.Mode().Perm()
}

// A node that root runs once by hand leaves /var/lib/vnode open for the unit,
// whatever root's umask; its own directory is its own.
func TestStateDirectoryLeavesTheWayOpen(t *testing.T) {
	for _, umask := range []int{0o022, 0o077, 0o027} {
		lib := varLib(t)
		dir := filepath.Join(lib, "vnode/v3")
		old := syscall.Umask(umask)
		err := makeDirectory(dir)
		syscall.Umask(old)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o700), mode(t, dir))
		if os.Geteuid() == 0 {
			require.Equal(t, os.FileMode(0o755), mode(t, filepath.Join(lib, "vnode")), "umask %04o", umask)
		}
		require.NoError(t, makeDirectory(dir), "again")
		require.Nil(t, FaultOf(filepath.Dir(filepath.Dir(lib)), dir, os.Geteuid()))
		require.Nil(t, FaultOf(filepath.Dir(filepath.Dir(lib)), filepath.Join(lib, "vnode/v4"), -1), "the unit of another node")
	}
}

// Each thing that can be in the way is named, with the command that mends it.
func TestFaultOfsAreNamed(t *testing.T) {
	const unit = -1
	for name, tc := range map[string]struct {
		make      func(lib string) error
		uid       int
		what, fix string
	}{
		"an older vnode run by root": {func(lib string) error { return os.Mkdir(lib+"/vnode", 0o700) },
			unit, "/vnode has mode 0700 and belongs to", "chmod 755 "},
		"a way that only a group may pass": {func(lib string) error { return os.Mkdir(lib+"/vnode", 0o750) },
			unit, "the user that systemd makes for the unit may not pass it", "chmod 755 "},
		"/var/lib itself": {func(lib string) error { return os.Chmod(lib, 0o700) },
			unit, "lib has mode 0700", "chmod 755 "},
		"what a unit of all nodes left": {func(lib string) error {
			if err := os.MkdirAll(lib+"/private/vnode", 0o700); err != nil {
				return err
			}
			return os.Symlink("private/vnode", lib+"/vnode")
		}, unit, "is a link to what systemd kept for another unit", "rm "},
		"a link of systemd's without its directory": {func(lib string) error {
			if err := os.Mkdir(lib+"/vnode", 0o755); err != nil {
				return err
			}
			return os.Symlink("../private/vnode/v3", lib+"/vnode/v3")
		}, unit, "is a link to ../private/vnode/v3, which does not exist", "rm "},
		"a file": {func(lib string) error { return os.WriteFile(lib+"/vnode", nil, 0o600) },
			unit, "/vnode is no directory", "mv "},
		"a directory of somebody else": {func(lib string) error { return os.MkdirAll(lib+"/vnode/v3", 0o755) },
			nobody, "/vnode/v3 belongs to", "chown -R nobody "},
	} {
		t.Run(name, func(t *testing.T) {
			lib := varLib(t)
			require.NoError(t, tc.make(lib))
			f := FaultOf(filepath.Dir(filepath.Dir(lib)), filepath.Join(lib, "vnode/v3"), tc.uid)
			require.NotNil(t, f)
			require.Contains(t, f.What, tc.what)
			require.Contains(t, f.Fix, tc.fix+f.Path[:len(lib)])
			if tc.fix == "chmod 755 " {
				require.NoError(t, exec.CommandContext(t.Context(), "sh", "-c", f.Fix).Run())
				require.Nil(t, FaultOf(filepath.Dir(filepath.Dir(lib)), filepath.Join(lib, "vnode/v3"), tc.uid), "the remedy helps")
			}
		})
	}
	lib := varLib(t)
	require.NoError(t, os.MkdirAll(lib+"/private/vnode/v3", 0o700))
	require.NoError(t, os.Mkdir(lib+"/vnode", 0o755))
	require.NoError(t, os.Symlink("../private/vnode/v3", lib+"/vnode/v3"))
	require.Nil(t, FaultOf(filepath.Dir(filepath.Dir(lib)), filepath.Join(lib, "vnode/v3"), unit), "as systemd leaves it")
	require.NoError(t, os.MkdirAll(lib+"/vnode/v5", 0o700))
	require.Nil(t, FaultOf(filepath.Dir(filepath.Dir(lib)), filepath.Join(lib, "vnode/v5"), unit), "systemd takes over what root made")
}

// What root writes into the directory of a unit's user belongs to that user.
func TestStateOfRootBelongsToTheUnit(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "node.key")
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	if os.Geteuid() != 0 {
		require.NoError(t, own(path))
		return // the rest needs root
	}
	require.NoError(t, os.Chown(dir, nobody, nobody))
	require.NoError(t, own(path))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, nobody, ownerOf(info))
}
