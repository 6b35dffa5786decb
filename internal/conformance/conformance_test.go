package conformance

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	root        = "../.."
	document    = root + "/docs/CONFORMANCE.md"
	transcripts = root + "/muc/testdata"
)

// named returns the names in the last column of the document's tables.
func named(t *testing.T) map[string]bool {
	t.Helper()
	b, err := os.ReadFile(document)
	require.NoError(t, err)
	names := make(map[string]bool)
	for line := range strings.Lines(string(b)) {
		line = strings.TrimSpace(line)
		if !strings.HasPrefix(line, "|") {
			continue
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		last := strings.TrimSpace(cells[len(cells)-1])
		if last == "tests" || strings.Trim(last, "-") == "" {
			continue
		}
		found := regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(last, -1)
		require.NotEmpty(t, found, "no test for: %s", line)
		for _, f := range found {
			names[f[1]] = true
		}
	}
	require.Greater(t, len(names), 100, "the document was read")
	return names
}

// tests returns the Go tests of the module.
func tests(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(b, -1) {
			names[string(m[1])] = true
		}
		return err
	})
	require.NoError(t, err)
	return names
}

func TestEveryNamedTestExists(t *testing.T) {
	exists := tests(t)
	for name := range named(t) {
		if strings.HasPrefix(name, "Test") {
			require.True(t, exists[name], "%s is no test", name)
			continue
		}
		require.FileExists(t, filepath.Join(transcripts, name+".txt"))
	}
}

func TestEveryTranscriptIsNamed(t *testing.T) {
	names := named(t)
	files, err := filepath.Glob(transcripts + "/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".txt")
		require.True(t, names[name], "%s is not in docs/CONFORMANCE.md", name)
	}
}
