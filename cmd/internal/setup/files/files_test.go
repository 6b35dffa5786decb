package files

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBlocksComeAndGo(t *testing.T) {
	for name, tc := range map[string]struct{ text, after string }{
		"on a line of its own":    {"a = {\n  x\n}\n", "a = {"},
		"before a comment":        {"a = { -- why\n  x\n}\n", "a = {"},
		"at the end of the lines": {"a = {\n}\n", "a = {"},
	} {
		t.Run(name, func(t *testing.T) {
			at := len(tc.after)
			with := InsertAll(tc.text, []Insertion{{After: at, Block: Block("--", "name", "\t", []string{"1;", "2;"})}})
			require.Contains(t, with, "\t1;\n\t2;\n")
			without, err := CutBlocks("f", "--", with)
			require.NoError(t, err)
			require.Equal(t, tc.text, without)
		})
	}
	_, err := CutBlocks("f", "--", "x\n-- >>> vnode setup: a\ny\n")
	require.ErrorContains(t, err, "f: line 2 begins a block of vnode setup that has no end")
}

func FuzzCutBlocks(f *testing.F) {
	f.Add("a\n-- >>> vnode setup: x\nb\n-- <<< vnode setup: x\nc")
	f.Fuzz(func(t *testing.T, text string) {
		clean, err := CutBlocks("f", "--", text)
		if err != nil {
			return
		}
		again, err := CutBlocks("f", "--", clean)
		require.NoError(t, err)
		require.Equal(t, clean, again)
	})
}

// An error in the middle leaves whole files, old or new, and names the one.
func TestApplyNamesTheFile(t *testing.T) {
	root := t.TempDir()
	p := NewPlan(root, filepath.Join(root, "own/backup"), false)
	require.NoError(t, p.Own(filepath.Join(root, "own/a"), "#", "text\n", 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(root, "in-the-way"), nil, 0o644))
	require.NoError(t, p.Secret(filepath.Join(root, "own/secret"), "s3cret"))
	require.NoError(t, p.Symlink(filepath.Join(root, "own/link"), "a"))
	require.NoError(t, p.Apply())
	var diff bytes.Buffer
	require.NoError(t, p.WriteDiff(&diff))
	require.NotContains(t, diff.String(), "s3cret")
	again := NewPlan(root, "", false)
	require.NoError(t, again.Symlink(filepath.Join(root, "own/link"), "a"))
	require.True(t, again.Empty())
	require.ErrorContains(t, again.Symlink(filepath.Join(root, "own/a"), "b"), "is in the way of a link")
	again.changes = append(again.changes, change{path: filepath.Join(root, "in-the-way/x"), new: []byte("y"), mode: 0o644})
	require.ErrorContains(t, again.Apply(), "in-the-way")

	require.NoError(t, os.Chmod(filepath.Join(root, "own/secret"), 0o644))
	require.NoError(t, again.Secret(filepath.Join(root, "own/secret"), "s3cret"))
	require.False(t, again.Empty(), "others can read it")
}

// Others' files keep their mode, and a copy is kept out of their directory.
func TestEditKeepsACopy(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "etc/x.conf")
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte("old\n"), 0o640))
	p := NewPlan(root, filepath.Join(root, "own/backup"), false)
	require.NoError(t, p.Edit(path, []byte("new\n")))
	require.NoError(t, p.Edit(path, []byte("newer\n")))
	require.NoError(t, p.Apply())
	b, err := os.ReadFile(filepath.Join(root, "own/backup/etc/x.conf"))
	require.NoError(t, err)
	require.Equal(t, "old\n", string(b))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o640), info.Mode().Perm())
	var out strings.Builder
	p.WriteSummary(&out, "was")
	require.Contains(t, out.String(), "a copy is "+filepath.Join(root, "own/backup/etc/x.conf"))
}

// What an operator had before the first run is not lost by the second.
func TestLaterCopiesLeaveTheFirstAlone(t *testing.T) {
	root := t.TempDir()
	path, backup := filepath.Join(root, "etc/x.conf"), filepath.Join(root, "own/backup")
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte("0"), 0o640))
	var out strings.Builder
	for _, text := range []string{"1", "2", "0", "3"} {
		p := NewPlan(root, backup, false)
		require.NoError(t, p.Edit(path, []byte(text)))
		p.WriteSummary(&out, "was")
		require.NoError(t, p.Apply())
	}
	for name, want := range map[string]string{"x.conf": "0", "x.conf.2": "1", "x.conf.3": "2"} {
		b, err := os.ReadFile(filepath.Join(backup, "etc", name))
		require.NoError(t, err)
		require.Equal(t, want, string(b))
		require.Contains(t, out.String(), "a copy is "+filepath.Join(backup, "etc", name)+"\n")
	}
	entries, err := os.ReadDir(filepath.Join(backup, "etc"))
	require.NoError(t, err)
	require.Len(t, entries, 3, "what is there already is not copied again")
}

// A diff has lines around what changes: others' passwords may be among them.
func TestDiffsShowNobodysPasswords(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "x.conf")
	require.NoError(t, os.WriteFile(path, []byte(`old
    password = "hunter2\"x" # comment
    "password" : hunter2,
  external_service_secret = 'hunter2';
	["secret"] = "hunter2";
    password-file = "/etc/shown"
`), 0o640))
	p := NewPlan(root, filepath.Join(root, "backup"), false)
	require.NoError(t, p.Edit(path, []byte("new\n")))
	var out strings.Builder
	require.NoError(t, p.WriteDiff(&out))
	require.NotContains(t, out.String(), "hunter2")
	require.Equal(t, 4, strings.Count(out.String(), "********"))
	require.Contains(t, out.String(), "/etc/shown")
}
