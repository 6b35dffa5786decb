package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

// sample is a comparison of three servers, twice, with one of everything that
// can happen: a saturated run, a problem, a server that was missing.
func sample() *File {
	f := &File{
		Began: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC), Took: 95 * time.Second, Version: "v1.2.3",
		Command: []string{"bench", "compare", "-repeat", "2"}, Servers: map[string]string{"vnode": "v1.2.3", "prosody": "0.12.3"},
		Machine: Machine{OS: "Linux 6.1", CPU: "Some CPU", Cores: 2, Memory: 24 << 30, Go: "go1.26", Pinning: "server on core 0, load test on core 1"},
		Notes:   []string{"ejabberd's MUC was left out: ejabberd is not installed: as root, apt-get install ejabberd."},
	}
	cost := map[string]float64{"vnode": 9e-6, "prosody": 150e-6, "floor": 8e-6}
	for repeat := 1; repeat <= 2; repeat++ {
		for _, server := range []string{"prosody", "floor", "vnode"} {
			c := cost[server] * (1 + 0.04*float64(repeat))
			for _, rate := range []float64{2, 60} {
				r := Run{Server: server, Scenario: "steady", Transport: "tcp", Repeat: repeat, Visitors: 1000, Rate: rate, Bytes: 1021,
					Metrics: map[string]float64{CPUPerDelivery: c, KernelShare: 0.9, ServerCPU: c * 1000 * rate, Lost: 0},
					Latency: distribution(time.Duration(c * 5e11))}
				if server == "prosody" && rate == 60 {
					r.Saturated = "the server was behind"
				}
				f.Runs = append(f.Runs, r)
			}
			f.Runs = append(f.Runs,
				Run{Server: server, Scenario: "join-storm", Transport: "tcp", Repeat: repeat, Visitors: 1000,
					Metrics: map[string]float64{JoinsPerCPUSecond: 0.05 / c, RSSPerSession: c * 2e8}, Joins: distribution(time.Second)},
				Run{Server: server, Scenario: "ceiling", Transport: "tcp", Repeat: repeat, Visitors: 1000, Rate: 0.9 / c / 1000,
					Metrics: map[string]float64{DeliveriesPerSecond: 0.9 / c}})
		}
	}
	f.Runs[0].Problems = []string{"lost: 3"}
	return f
}

func distribution(middle time.Duration) *Distribution {
	d := &Distribution{Count: 1000, P50: middle, P95: 2 * middle, P99: 3 * middle, Max: 4 * middle}
	for i := 1; i <= 20; i++ {
		d.CDF = append(d.CDF, Point{At: middle * time.Duration(i) / 5, Fraction: float64(i) / 20})
	}
	return d
}

func TestTable(t *testing.T) {
	for name, f := range map[string]*File{
		"compare": sample(),
		"single":  {Began: sample().Began, Command: []string{"bench"}, Machine: sample().Machine, Runs: sample().Runs[8:9]},
		"nothing": {Began: sample().Began, Command: []string{"bench"}, Machine: sample().Machine},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, f.WriteTable(&b))
			golden(t, name+".txt", b.Bytes())
		})
	}
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o600))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), string(got), "go test -update writes %s anew; look at the difference", path)
}

// The page is well-formed, stands alone, and its charts have names and tables.
func TestPage(t *testing.T) {
	nasty := sample()
	for i := range nasty.Runs {
		if nasty.Runs[i].Server == "floor" {
			nasty.Runs[i].Server, nasty.Runs[i].Transport = `<script>alert("x")</script>`, "unix"
		}
	}
	nasty.Notes = append(nasty.Notes, "a < b & \"c\"")
	zero := sample()
	for i := range zero.Runs {
		for name := range zero.Runs[i].Metrics {
			zero.Runs[i].Metrics[name] = 0
		}
		zero.Runs[i].Latency = &Distribution{CDF: []Point{{0, 1}}}
	}
	for name, f := range map[string]*File{"sample": sample(), "hostile names": nasty, "all zero": zero, "nothing": {}} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, f.WriteHTML(&b))
			text := b.String()
			checkMarkup(t, text)
			require.NotContains(t, text, "<script")
			require.NotRegexp(t, regexp.MustCompile(`(?i)(src|href|url\(|@import)\s*[=(]?\s*["']?(https?:)?//`), text, "nothing is loaded from anywhere")
			require.NotContains(t, text, "NaN")
			require.NotContains(t, text, "Inf")
			require.NotContains(t, text, "ZgotmplZ")
			require.Equal(t, strings.Count(text, `role="img"`), strings.Count(text, "<desc"), "every chart is described")
			require.Equal(t, strings.Count(text, "<figure>"), strings.Count(text, `role="img"`), "every figure has its chart")
			require.LessOrEqual(t, strings.Count(text, "<figure>"), strings.Count(text, "<table>"), "and its table")
		})
	}
}

// checkMarkup reads the page as XML, which it is valid as but for the doctype,
// and checks that ids are unique and every reference to one has its target.
func checkMarkup(t *testing.T, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	ids, refs := map[string]bool{}, []string{}
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		start, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		for _, a := range start.Attr {
			switch a.Name.Local {
			case "id":
				require.False(t, ids[a.Value], "id %s is there twice", a.Value)
				ids[a.Value] = true
			case "aria-labelledby":
				refs = append(refs, strings.Fields(a.Value)...)
			}
		}
	}
	for _, r := range refs {
		require.True(t, ids[r], "%s is referred to", r)
	}
}

// Every name of the model has a label and a meaning, and each is used once.
func TestEveryMetricIsDescribed(t *testing.T) {
	labels := make(map[string]bool)
	for _, name := range names(t) {
		m := Describe(name)
		require.NotEmpty(t, m.Meaning, "%s has no description", name)
		require.NotEqual(t, strings.ReplaceAll(name, "_", " "), "", m.Label)
		require.False(t, labels[m.Label], "label %q is given twice", m.Label)
		labels[m.Label] = true
		require.NotEmpty(t, m.Format(0.5))
	}
	require.Len(t, metrics, len(labels), "and none is described that is not in the model")
}

// TestUnits: names end in what they count in, so that the unit can be checked.
func TestUnits(t *testing.T) {
	for suffix, unit := range map[string]Unit{
		"_seconds": Seconds, "_share": Share, "_cores": Cores, "_bytes": Bytes,
		"cpu_seconds_per_delivery": Seconds, "cpu_seconds_per_join": Seconds, "rss_bytes_per_session": Bytes, "bytes_per_join": Bytes,
		"relay_bytes_per_second": BytesPerSecond, "relay_bytes_per_cpu_second": BytesPerSecond,
		"deliveries_per_second": PerSecond, "resumed_per_second": PerSecond, "s_per_cpu_second": PerSecond,
	} {
		for _, name := range names(t) {
			if strings.HasSuffix(name, suffix) && (unit != PerSecond || !strings.Contains(name, "bytes")) {
				require.Equal(t, unit, Describe(name).Unit, name)
			}
		}
	}
}

// names are the metrics' names, as the constants of model.go.
func names(t *testing.T) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "model.go", nil, 0)
	require.NoError(t, err)
	var all []string
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			for _, v := range s.(*ast.ValueSpec).Values {
				name, err := strconv.Unquote(v.(*ast.BasicLit).Value)
				require.NoError(t, err)
				all = append(all, name)
			}
		}
	}
	require.Greater(t, len(all), 15)
	return all
}

func TestFormats(t *testing.T) {
	for _, c := range []struct {
		metric string
		value  float64
		want   string
	}{
		{CPUPerDelivery, 9.1234e-6, "9.12 µs"}, {CPUPerDelivery, 0.000151, "151 µs"}, {CPUPerDelivery, 4e-7, "400 ns"},
		{OthersP99, 0.0301, "30.1 ms"}, {OthersP99, 3.3, "3.30 s"}, {OthersP99, 0, "0 s"},
		{RSSPerSession, 2400, "2.40 kB"}, {RSSPerSession, 217_000, "217 kB"}, {RSSPerSession, 999_600, "1.00 MB"}, {RSSPerSession, 12, "12 B"},
		{DeliveriesPerSecond, 2_100_000, "2.10 M/s"}, {DeliveriesPerSecond, 7200, "7.20 k/s"}, {DeliveriesPerSecond, 90, "90/s"},
		{RelayBytesPerSecond, 4.2e8, "420 MB/s"}, {KernelShare, 0.94, "94 %"}, {ServerCPU, 0.5, "0.50"}, {Lost, 0, "0"}, {Lost, 1200, "1.20 k"},
		{"not_known", 3, "3"},
	} {
		require.Equal(t, c.want, Describe(c.metric).Format(c.value), "%s %v", c.metric, c.value)
	}
	require.Equal(t, "16.7×", times(16.66))
	require.Equal(t, "1×", times(1.001))
	require.Equal(t, "1\u202f234\u202f567", grouped(1234567))
	require.Equal(t, "8.9–9.4 µs", fromTo(Spread{Min: 8.9, Max: 9.4, N: 2}, func(v float64) string { return fmt.Sprintf("%.1f µs", v) }))
}

// Ratios are taken within a repeat, so what fell on all servers of one falls
// out; worse is above 1 whichever way a metric is good.
func TestWorse(t *testing.T) {
	f := &File{}
	add := func(server string, repeat int, cost, joins float64, saturated string) {
		f.Runs = append(f.Runs, Run{Server: server, Scenario: "steady", Repeat: repeat, Saturated: saturated,
			Metrics: map[string]float64{CPUPerDelivery: cost, JoinsPerCPUSecond: joins}})
	}
	add("vnode", 1, 10, 100, "")
	add("vnode", 2, 20, 50, "") // the machine was twice as slow
	add("vnode", 3, 10, 100, "")
	add("other", 1, 100, 10, "")
	add("other", 2, 200, 5, "")
	add("other", 3, 1, 1, "behind")
	g := f.groups()[0]
	for _, m := range []string{CPUPerDelivery, JoinsPerCPUSecond} {
		require.Equal(t, Spread{Min: 10, Median: 10, Max: 10, N: 2}, g.worse("other", "vnode", Describe(m)), m)
	}
	s, saturated := g.spread("other", Describe(CPUPerDelivery))
	require.Equal(t, Spread{Min: 100, Median: 150, Max: 200, N: 2}, s, "a saturated run is no cost")
	require.False(t, saturated)
	for i := range f.Runs {
		f.Runs[i].Saturated = "behind"
	}
	_, saturated = f.groups()[0].spread("other", Describe(CPUPerDelivery))
	require.True(t, saturated)
	require.Zero(t, f.groups()[0].worse("other", "vnode", Describe(CPUPerDelivery)).N)
}

func TestJSONComesBack(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, sample().WriteJSON(&b))
	f, err := ReadJSON(&b)
	require.NoError(t, err)
	require.Equal(t, sample(), f)
	for _, bad := range []string{"", "[]", "{}", "{"} {
		_, err := ReadJSON(strings.NewReader(bad))
		require.ErrorContains(t, err, "no result of the load test", bad)
	}
}

// Joined files are as one, but repeats of different files are not compared.
func TestJoin(t *testing.T) {
	one, two := sample(), sample()
	two.Began = two.Began.Add(time.Hour)
	two.Command = []string{"bench", "growth"}
	two.Machine.Cores = 4
	two.Servers = map[string]string{"prosody": "13.0", "ejabberd": "23.01"}
	f := Join(two, one)
	require.Len(t, f.Runs, len(one.Runs)+len(two.Runs))
	require.Equal(t, one.Began, f.Began, "the older one is first")
	require.Equal(t, 4, f.Runs[len(f.Runs)-1].Repeat)
	require.Equal(t, "bench compare -repeat 2 ; bench growth", strings.Join(f.Command, " "))
	require.Equal(t, map[string]string{"vnode": "v1.2.3", "prosody": "0.12.3, 13.0", "ejabberd": "23.01"}, f.Servers)
	require.Len(t, f.Notes, 2, "the same note once, and the other machine")
	require.Contains(t, f.Notes[1], "another machine")
	require.Equal(t, sample(), one, "what was joined is left as it was")
	require.Equal(t, sample(), Join(sample()))
}

func TestAxes(t *testing.T) {
	for name, a := range map[string]axis{
		"linear":           {lo: 0, hi: 7, from: 0, to: 100},
		"logarithm, short": {lo: 2, hi: 9, log: true, from: 0, to: 100},
		"logarithm, long":  {lo: 1e-6, hi: 10, log: true, from: 0, to: 100},
		"logarithm, two":   {lo: 1, hi: 100, log: true, from: 100, to: 0},
	} {
		a.format = short
		ticks := a.ticks()
		require.GreaterOrEqual(t, len(ticks), 3, name)
		require.LessOrEqual(t, len(ticks), 9, name)
		for _, k := range ticks {
			at := a.at(k.value)
			require.GreaterOrEqual(t, at, min(a.from, a.to)-1e-6, name)
			require.LessOrEqual(t, at, max(a.from, a.to)+1e-6, name)
		}
		require.InDelta(t, a.from, a.at(a.lo), 1e-9, name)
		require.InDelta(t, a.to, a.at(a.hi), 1e-9, name)
	}
	lo, hi := logRange(3, 3)
	require.Less(t, lo, hi, "one value has a range too")
}
