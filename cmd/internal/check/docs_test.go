package check

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every finding has its line in docs/TROUBLESHOOTING.md.
func TestEveryFindingIsExplained(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/TROUBLESHOOTING.md")
	require.NoError(t, err)
	names := map[string]bool{}
	for _, l := range looks {
		names[l.name] = true
	}
	sources, err := filepath.Glob("*.go")
	require.NoError(t, err)
	named := regexp.MustCompile(`\bCheck(?:: | = |, f\.(?:Fix|File) = )"([a-z-]+)"`)
	for _, path := range sources {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			names[m[1]] = true
		}
	}
	require.Greater(t, len(names), 20)
	for name := range names {
		require.Regexp(t, "(?m)^\\|[^|]*`"+name+"`", string(doc), "no line for the finding")
	}
}
