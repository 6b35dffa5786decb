package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var (
	docLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	docHeading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInSlug  = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	docCommand = regexp.MustCompile(`(?m)(?:^ *|` + "`" + `)(?:sudo )?(?:\S*/)?vnode ([a-z]+)((?: +-?[^\s` + "`" + `|)]+)*)`)
	docFlag    = regexp.MustCompile(`(?:^| )-([a-z][a-z0-9-]*)`)
)

// documents are all texts for readers, by their path below the repository's
// root.
func documents(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("../../docs/*.md")
	require.NoError(t, err)
	all := map[string]string{}
	for _, path := range append(paths, "../../README.md", "../../CHANGELOG.md") {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		all[path] = string(b)
	}
	return all
}

// slug is how a heading is linked to.
func slug(heading string) string {
	s := notInSlug.ReplaceAllString(strings.ToLower(docLink.ReplaceAllString(heading, "]")), "")
	return strings.ReplaceAll(s, " ", "-")
}

// Every link between the documents leads somewhere.
func TestDocumentsLinkToWhatIsThere(t *testing.T) {
	all := documents(t)
	links := 0
	for path, text := range all {
		for _, m := range docLink.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], "://") {
				continue
			}
			links++
			file, anchor, _ := strings.Cut(m[1], "#")
			to := path
			if file != "" {
				to = filepath.Join(filepath.Dir(path), file)
			}
			_, err := os.Stat(to)
			require.NoError(t, err, "%s: %s", path, m[1])
			if anchor == "" {
				continue
			}
			var slugs []string
			for _, h := range docHeading.FindAllStringSubmatch(all[to], -1) {
				slugs = append(slugs, slug(h[1]))
			}
			require.Contains(t, slugs, anchor, "%s: %s", path, m[1])
		}
	}
	require.Greater(t, links, 20)
}

// Every command that the documents have readers type exists, with its flags.
func TestDocumentedCommandsExist(t *testing.T) {
	flags := map[string]string{}
	for _, c := range commands {
		var out bytes.Buffer
		run([]string{c.name, "-help"}, &out, &out)
		flags[c.name] = out.String()
	}
	seen := map[string]bool{}
	for path, text := range documents(t) {
		for _, code := range codeIn(text) {
			for _, m := range docCommand.FindAllStringSubmatch(code, -1) {
				name := m[1]
				known := slices.ContainsFunc(commands, func(c command) bool { return c.name == name })
				require.True(t, known, "%s: vnode %s", path, name)
				seen[name] = true
				for _, f := range docFlag.FindAllStringSubmatch(m[2], -1) {
					require.Regexp(t, "(?m)^  -"+f[1]+"( |$)", flags[name], "%s: vnode %s%s", path, name, m[2])
				}
			}
		}
	}
	require.Len(t, seen, len(commands), "each is mentioned somewhere: %v", seen)
}

// codeIn are the code blocks and the pieces of code in a document.
func codeIn(text string) (all []string) {
	fenced := regexp.MustCompile("(?ms)^```.*?^```")
	all = fenced.FindAllString(text, -1)
	rest := fenced.ReplaceAllString(text, "")
	return append(all, regexp.MustCompile("`[^`]+`").FindAllString(rest, -1)...)
}
