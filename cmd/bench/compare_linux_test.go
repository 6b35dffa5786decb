package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/bench/report"
)

func TestCompareTellsWhatIsWrong(t *testing.T) {
	for want, args := range map[string][]string{
		`-servers: no server "openfire"; there are vnode, `: {"-servers", "vnode,openfire"},
		`-visitors: "none" is no number of visitors`:        {"-visitors", "500,none"},
		`-visitors: "0" is no number of visitors`:           {"-visitors", "0"},
		`-rates: "-1" is no rate`:                           {"-rates", "2,-1"},
		`-rates: "NaN" is no rate`:                          {"-rates", "NaN"},
		`-chat: a part is between 0 and 1`:                  {"-chat", "2"},
		`"prosody" is no flag`:                              {"prosody"},
	} {
		t.Run(want, func(t *testing.T) {
			var out, errs bytes.Buffer
			require.Equal(t, exitUsage, run(t.Context(), append([]string{"compare"}, args...), &out, &errs))
			require.Contains(t, errs.String(), want)
			require.Empty(t, out.String())
		})
	}
}

func TestCompareHelpListsTheServers(t *testing.T) {
	var out, errs bytes.Buffer
	require.Zero(t, run(t.Context(), []string{"compare", "-help"}, &out, &errs))
	require.Contains(t, out.String(), "prosody-default-gc   Prosody's MUC, garbage collector as packaged")
	require.Contains(t, out.String(), "-repeat")
}

// Several results become one table, one page or one file.
func TestReportJoinsResults(t *testing.T) {
	dir := t.TempDir()
	var paths []string
	for i, server := range []string{"vnode", "prosody"} {
		path := filepath.Join(dir, server+".json")
		f := &report.File{Began: time.Unix(int64(i), 0), Command: []string{"bench", server}, Runs: []report.Run{{
			Server: server, Scenario: "steady", Transport: "tcp", Repeat: 1, Visitors: 10, Rate: 2,
			Metrics: map[string]float64{report.CPUPerDelivery: 1e-5},
		}}}
		require.NoError(t, writeFile(path, f.WriteJSON))
		paths = append(paths, path)
	}
	var out, errs bytes.Buffer
	require.Zero(t, run(t.Context(), append([]string{"report"}, paths...), &out, &errs), errs.String())
	require.Regexp(t, `CPU per delivery +10.0 µs +10.0 µs`, out.String())

	page, joined := filepath.Join(dir, "report.html"), filepath.Join(dir, "all.json")
	out.Reset()
	require.Zero(t, run(t.Context(), append(append([]string{"report"}, paths...), "-o", page, "-json", joined), &out, &errs), errs.String())
	require.Empty(t, out.String())
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(text), "<h1>vnode beside prosody</h1>")
	again, err := readResults([]string{joined})
	require.NoError(t, err)
	require.Len(t, again.Runs, 2)
}

func TestReportTellsWhichFileIsWrong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.json")
	require.NoError(t, os.WriteFile(path, []byte("{}"), 0o600))
	for want, args := range map[string][]string{
		"no result is named": {},
		path + ": no result of the load test: it has no runs": {path},
		"no such file": {path + ".gone"},
	} {
		var out, errs bytes.Buffer
		require.NotZero(t, run(t.Context(), append([]string{"report"}, args...), &out, &errs))
		require.Contains(t, errs.String(), want)
	}
}
