package build

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const placeholder = "$Format:%h$\n"

// However a program was built, its version says more than "(devel)".
func TestEveryKindOfBuildIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "vnode")
	require.NoError(t, os.WriteFile(file, []byte("a program"), 0o600))
	sum := sha256.Sum256([]byte("a program"))
	program := func() (string, error) { return file, nil }
	vcs := []debug.BuildSetting{{Key: "vcs.revision", Value: "0123456789abcdef0123456789abcdef01234567"}}
	dirty := append(vcs[:1:1], debug.BuildSetting{Key: "vcs.modified", Value: "true"})
	for name, tc := range map[string]struct {
		stamped, module, archived, want string
		settings                        []debug.BuildSetting
		program                         func() (string, error)
	}{
		"make build":                        {stamped: "v1.2.0-3-gabc", module: "(devel)", want: "v1.2.0-3-gabc go1.26.0"},
		"make build in a checkout":          {stamped: "v1.2.0", module: "v1.2.0", settings: vcs, want: "v1.2.0 go1.26.0"},
		"go install of a release":           {module: "v1.2.0", want: "v1.2.0 go1.26.0"},
		"go build at a tag":                 {module: "v1.2.0", settings: vcs, want: "v1.2.0 0123456789ab go1.26.0"},
		"go build of a commit":              {module: "v0.0.0-20261201000000-0123456789ab", settings: vcs, want: "v0.0.0-20261201000000-0123456789ab go1.26.0"},
		"a toolchain that stamps no module": {module: "(devel)", settings: vcs, want: "unreleased 0123456789ab go1.26.0"},
		"with changes":                      {module: "(devel)", settings: dirty, want: "unreleased 0123456789ab+dirty go1.26.0"},
		"an archive of git":                 {module: "(devel)", archived: "fedcba98\n", want: "unreleased fedcba98 go1.26.0"},
		"a copied directory, go run":        {module: "(devel)", want: "unreleased sha256:" + hex.EncodeToString(sum[:6]) + " go1.26.0"},
		"no module at all":                  {want: "unreleased sha256:" + hex.EncodeToString(sum[:6]) + " go1.26.0"},
		"a program that is gone":            {module: "(devel)", program: func() (string, error) { return "", errors.New("gone") }, want: "unreleased sha256:unknown go1.26.0"},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.archived == "" {
				tc.archived = placeholder
			}
			if tc.program == nil {
				tc.program = program
			}
			info := &debug.BuildInfo{GoVersion: "go1.26.0", Main: debug.Module{Version: tc.module}, Settings: tc.settings}
			require.Equal(t, tc.want, version(tc.stamped, info, tc.archived, tc.program))
		})
	}
}

// This very program was built in one of these ways.
func TestThisBuildIsNamed(t *testing.T) {
	require.NotContains(t, Version(), "(devel)")
	require.NotContains(t, Version(), "unknown")
	require.Greater(t, len(strings.Fields(Version())), 1)
}

// git replaces the placeholder in an archive of the sources.
func TestArchiveOfGitKnowsItsCommit(t *testing.T) {
	require.Equal(t, placeholder, archived, "in a checkout")
	repo := t.TempDir()
	for _, name := range []string{"../../../.gitattributes", "revision.txt"} {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		to := filepath.Join(repo, "cmd/internal/build", name)
		require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
		require.NoError(t, os.WriteFile(to, b, 0o600))
	}
	git := func(args ...string) string {
		cmd := exec.CommandContext(t.Context(), "git", append([]string{"-C", repo, "-c", "user.name=a", "-c", "user.email=a@b.example"}, args...)...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, string(out))
		return string(out)
	}
	git("init", "-q")
	git("add", ".")
	git("commit", "-q", "-m", "x")
	require.Contains(t, git("archive", "--format=tar", "HEAD"), strings.TrimSpace(git("log", "-1", "--format=%h"))+"\n")
}
