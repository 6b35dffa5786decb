package node

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/stretchr/testify/require"
	"gopkg.in/yaml.v3"

	"vnode/internal/xmpptest/needs"
)

var update = flag.Bool("update", false, "write docs/METRICS.md anew")

const (
	docs       = "../../../docs"
	monitoring = docs + "/monitoring"
)

// alert is a rule of the alerts file.
type alert struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

// uses reports whether the rule looks at a metric.
func (a alert) uses(metric string) bool {
	return regexp.MustCompile(`\b` + metric + `(_bucket|_sum|_count)?\b`).MatchString(a.Expr)
}

func alerts(t *testing.T) []alert {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(monitoring, "vnode-alerts.yml"))
	require.NoError(t, err)
	var file struct{ Groups []struct{ Rules []alert } }
	require.NoError(t, yaml.Unmarshal(b, &file))
	require.Len(t, file.Groups, 1)
	return file.Groups[0].Rules
}

func families(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	node := start(t, testConfig(t, "127.0.0.1:1"))
	all, err := node.registry.Gather()
	require.NoError(t, err)
	return all
}

// unit of a metric, as Prometheus wants names to end.
func unit(name string) string {
	name = strings.TrimSuffix(name, "_total")
	for suffix, unit := range map[string]string{
		"_seconds": "seconds", "_bytes": "bytes", "_stanzas": "stanzas", "_sessions": "sessions", "_visitors": "visitors",
		"_rooms": "rooms", "_messages": "messages", "_records": "records", "_up": "0 or 1", "_info": "1", "_state": "0 or 1",
	} {
		if strings.HasSuffix(name, suffix) {
			return unit
		}
	}
	return "count"
}

const metricsHead = `# Metrics

Every metric of a node, at ` + "`/metrics`" + ` of the admin listener. The table is
written by a test from a node's own registry and from
[the alert rules](monitoring/vnode-alerts.yml), and fails when it is stale;
` + "`go test ./cmd/internal/node -run TestMetricsAreDocumented -update`" + ` writes it
anew. What to do about an alert: [OPERATING.md](OPERATING.md). A dashboard for
Grafana: [monitoring/vnode-dashboard.json](monitoring/vnode-dashboard.json).

Label sets are closed and exist from the start: a rate never misses its first
event. No room or address is ever a label. Beside these there are the usual
` + "`go_…` and `process_…`" + ` metrics.

`

// metricsTable is docs/METRICS.md as it should be.
func metricsTable(all []*dto.MetricFamily, rules []alert) string {
	var b strings.Builder
	b.WriteString(metricsHead)
	b.WriteString("| metric | type | unit | meaning | alert |\n|---|---|---|---|---|\n")
	for _, f := range all {
		if !strings.HasPrefix(f.GetName(), "vnode_") {
			continue
		}
		name := "`" + f.GetName() + "`"
		if labels := labelsOf(f); len(labels) > 0 {
			name += "<br>" + strings.Join(labels, "<br>")
		}
		var when []string
		for _, a := range rules {
			if a.uses(f.GetName()) {
				when = append(when, alertCell(a))
			}
		}
		if when == nil {
			when = []string{"–"}
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", name, strings.ToLower(f.GetType().String()), unit(f.GetName()), f.GetHelp(), strings.Join(when, "<br>"))
	}
	return b.String()
}

func alertCell(a alert) string {
	expr := strings.ReplaceAll(strings.Join(strings.Fields(a.Expr), " "), "|", `\|`)
	cell := fmt.Sprintf("[%s](OPERATING.md#%s): `%s`", a.Alert, strings.ToLower(a.Alert), expr)
	if a.For != "" {
		cell += " for " + a.For
	}
	return cell
}

// labelsOf lists the labels with their values, if those are few words.
func labelsOf(f *dto.MetricFamily) []string {
	var names []string
	values := make(map[string][]string)
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if !slices.Contains(names, l.GetName()) {
				names = append(names, l.GetName())
			}
			if !slices.Contains(values[l.GetName()], l.GetValue()) {
				values[l.GetName()] = append(values[l.GetName()], l.GetValue())
			}
		}
	}
	for i, n := range names {
		if f.GetName() != "vnode_build_info" { // whose values are of this build
			slices.Sort(values[n])
			names[i] += ": " + strings.Join(values[n], ", ")
		}
	}
	return names
}

// Every metric is in the table with its meaning, its unit and the alerts that
// look at it, and nothing else is.
func TestMetricsAreDocumented(t *testing.T) {
	want := metricsTable(families(t), alerts(t))
	path := filepath.Join(docs, "METRICS.md")
	if *update {
		require.NoError(t, os.WriteFile(path, []byte(want), 0o644))
	}
	have, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, want, string(have), "docs/METRICS.md is stale: run this test with -update")
}

// metricName finds what an expression looks at.
var metricName = regexp.MustCompile(`\b(vnode_[a-z0-9_]+|process_[a-z_]+|go_[a-z_]+)\b`)

// exist fails for a metric that a node does not have: a graph of it would be
// empty, an alert silent.
func exist(t *testing.T, all []*dto.MetricFamily, expr, where string) {
	t.Helper()
	names := metricName.FindAllString(expr, -1)
	for _, n := range names {
		require.True(t, slices.ContainsFunc(all, func(f *dto.MetricFamily) bool {
			base := strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(n, "_bucket"), "_sum"), "_count")
			return f.GetName() == n || f.GetType() == dto.MetricType_HISTOGRAM && f.GetName() == base
		}), "%s: a node has no %s", where, n)
	}
}

// Every alert looks at metrics that exist, says something, and has a heading in
// the operator's book.
func TestAlertsAreDocumented(t *testing.T) {
	all := families(t)
	book, err := os.ReadFile(filepath.Join(docs, "OPERATING.md"))
	require.NoError(t, err)
	known := make(map[string]bool)
	for _, a := range alerts(t) {
		exist(t, all, a.Expr, a.Alert)
		require.NotEmpty(t, a.Annotations["summary"], a.Alert)
		require.Contains(t, []string{"critical", "warning", "info"}, a.Labels["severity"], a.Alert)
		require.Contains(t, string(book), "\n### "+a.Alert+"\n")
		known[a.Alert] = true
	}
	for _, heading := range regexp.MustCompile(`(?m)^### (Vnode\w+)$`).FindAllStringSubmatch(string(book), -1) {
		require.True(t, known[heading[1]], "%s is in the book, but there is no such alert", heading[1])
	}
}

// promtool runs Prometheus's own checker.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	needs.Programs(t, "promtool")
	cmd := exec.CommandContext(t.Context(), "promtool", args...)
	out, err := cmd.CombinedOutput()
	require.NoErrorf(t, err, "promtool %v (apt-get install prometheus, if it is missing):\n%s", args, out)
}

func TestAlertsWork(t *testing.T) {
	promtool(t, "check", "rules", filepath.Join(monitoring, "vnode-alerts.yml"))
	promtool(t, "test", "rules", filepath.Join(monitoring, "vnode-alerts-test.yml"))
}

// Every graph of the dashboard has an expression that Prometheus can read, of
// metrics that exist, and every metric of the node but the plainest is in one.
func TestDashboardWorks(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(monitoring, "vnode-dashboard.json"))
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			ID      int
			Type    string
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(b, &dashboard))
	all := families(t)
	var rules strings.Builder
	rules.WriteString("groups: [{name: dashboard, rules: [\n")
	ids := make(map[int]bool)
	for _, p := range dashboard.Panels {
		require.False(t, ids[p.ID], "two panels %d", p.ID)
		ids[p.ID] = true
		require.Equal(t, p.Type == "row", len(p.Targets) == 0, p.Title)
		for i, target := range p.Targets {
			exist(t, all, target.Expr, p.Title)
			// Grafana puts these in; a rule is a way to have an expression read.
			expr := strings.NewReplacer("$__rate_interval", "1m", "$instance", "v3").Replace(target.Expr)
			fmt.Fprintf(&rules, "{record: 'p:%d_%d', expr: %q},\n", p.ID, i, expr)
		}
	}
	rules.WriteString("]}]\n")
	path := filepath.Join(t.TempDir(), "rules.yml")
	require.NoError(t, os.WriteFile(path, []byte(rules.String()), 0o600))
	promtool(t, "check", "rules", path)
}
