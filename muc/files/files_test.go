package files

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func file(id, more string) File {
	return File{ID: id, JSON: fmt.Sprintf(`{"fileId": %q%s}`, id, more)}
}

func update(t *testing.T, l *List, files ...File) (news []string) {
	got, left := l.Update(files)
	require.Zero(t, left)
	for _, n := range got {
		news = append(news, string(n))
	}
	return news
}

func TestWhatComesAndGoes(t *testing.T) {
	l := NewList(Limits{})
	require.Nil(t, l.All())
	require.Equal(t, []string{
		`{"type":"file-sharing","event":"add","file":{"fileId":"b"}}`,
		`{"type":"file-sharing","event":"add","file":{"fileId":"a","fileName":"<&>"}}`,
	}, update(t, l, file("b", ""), file("a", `, "fileName": "<&>"`)))
	require.JSONEq(t, `{"type":"file-sharing","event":"list","files":{"a":{"fileId":"a","fileName":"<&>"},"b":{"fileId":"b"}}}`, string(l.All()))
	require.Equal(t, []string{
		`{"type":"file-sharing","event":"remove","fileId":"a"}`,
		`{"type":"file-sharing","event":"add","file":{"fileId":"c"}}`,
		`{"type":"file-sharing","event":"add","file":{"fileId":"b","fileSize":1}}`,
	}, update(t, l, file("c", ""), file("b", `,"fileSize":1`)), "gone, described anew, added")
	require.Empty(t, update(t, l, file("b", `,"fileSize":1`), file("c", "")), "the order says nothing")
	require.Len(t, update(t, l), 2)
	require.Nil(t, l.All())
	require.Zero(t, l.Len())
}

func TestWhatIsLeftOut(t *testing.T) {
	l := NewList(Limits{Files: 2, Bytes: 60})
	for name, f := range map[string]File{
		"no JSON":    {"a", "{"},
		"no object":  {"a", "[]"},
		"null":       {"a", "null"},
		"no id":      {"a", "{}"},
		"another id": {"a", `{"fileId":"b"}`},
		"number":     {"1", `{"fileId":1}`},
		"empty id":   {"", `{"fileId":""}`},
		"too long":   file("a", `,"fileName":"`+strings.Repeat("x", 60)+`"`),
	} {
		news, left := l.Update([]File{f})
		require.Empty(t, news, name)
		require.Equal(t, 1, left, name)
	}
	news, left := l.Update([]File{file("a", ""), file("a", `,"x":1`), file("b", ""), file("c", "")})
	require.Len(t, news, 2)
	require.Equal(t, 2, left, "a name twice, and one too many")
}

// FuzzUpdate: whatever main says, visitors get valid JSON, and the same again
// is no news.
func FuzzUpdate(f *testing.F) {
	f.Add("a", `{"fileId":"a"}`, "b", `{"fileId":"b","x":[1]}`)
	f.Add("\xff", `{"fileId":"\ud800"}`, "", `{}`)
	f.Fuzz(func(t *testing.T, id1, json1, id2, json2 string) {
		l := NewList(Limits{Files: 2, Bytes: 100})
		for _, list := range [][]File{{{id1, json1}}, {{id1, json1}, {id2, json2}}, {{id2, json2}}, nil} {
			news, left := l.Update(list)
			require.LessOrEqual(t, left, len(list))
			for _, n := range append(news, l.All()) {
				require.True(t, n == nil || json.Valid(n), "%s", n)
			}
			news, _ = l.Update(list)
			require.Empty(t, news)
		}
		require.Zero(t, l.Len())
	})
}
