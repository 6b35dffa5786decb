package report

import (
	"fmt"
	"slices"
	"sort"
	"time"
)

// Setting is what runs must have in common to be compared.
type Setting struct {
	Scenario string
	Visitors int
	Rate     float64 // 0 where each server has its own
}

// String names the setting for people.
func (s Setting) String() string {
	text := fmt.Sprintf("%s · %s", scenarioTitle(s.Scenario), plural(s.Visitors, "visitor"))
	if s.Rate > 0 {
		text += fmt.Sprintf(" · %s stanzas/s", rate(s.Rate))
	}
	return text
}

// Scenarios whose rate is a result: it differs between servers.
const (
	ceiling = "ceiling" // and who is measured is saturated, on purpose
	relay   = "relay"
)

// ceilingStep is the search for the ceiling: charts show it, tables do not.
const ceilingStep = "ceiling-step"

func (r *Run) setting() Setting {
	s := Setting{r.Scenario, r.Visitors, r.Rate}
	if r.Scenario == ceiling || r.Scenario == relay {
		s.Rate = 0
	}
	return s
}

// Subject names what was measured: the server, and the transport where it is
// not TCP.
func (r *Run) Subject() string {
	if r.Transport == "" || r.Transport == "tcp" {
		return r.Server
	}
	return r.Server + "/" + r.Transport
}

// group is the runs of one setting.
type group struct {
	Setting
	subjects []string // in order of their first runs
	runs     map[string][]*Run
}

// groups returns the settings of a file in order of their first runs. Subjects
// come in the same order everywhere.
func (f *File) groups() []*group {
	var all []*group
	order := f.subjects()
	for i := range f.Runs {
		r := &f.Runs[i]
		at := slices.IndexFunc(all, func(g *group) bool { return g.Setting == r.setting() })
		if at < 0 {
			at = len(all)
			all = append(all, &group{Setting: r.setting(), runs: make(map[string][]*Run)})
		}
		g := all[at]
		g.runs[r.Subject()] = append(g.runs[r.Subject()], r)
	}
	for _, g := range all {
		for _, s := range order {
			if len(g.runs[s]) > 0 {
				g.subjects = append(g.subjects, s)
			}
		}
	}
	return all
}

// subjects are the servers of a file: the reference first, then by first
// appearance.
func (f *File) subjects() []string {
	var all []string
	for i := range f.Runs {
		if s := f.Runs[i].Subject(); !slices.Contains(all, s) {
			all = append(all, s)
		}
	}
	slices.SortStableFunc(all, func(a, b string) int { return rank(a) - rank(b) })
	return all
}

// rank puts our own server first and the floor, which is none, last.
func rank(subject string) int {
	switch subject {
	case "vnode":
		return 0
	case "vnode/unix":
		return 1
	case "floor", "floor/unix":
		return 3
	}
	return 2
}

// Spread is a figure over repeats.
type Spread struct {
	Min, Median, Max float64
	N                int
}

func spread(values []float64) Spread {
	n := len(values)
	if n == 0 {
		return Spread{}
	}
	sorted := slices.Clone(values)
	sort.Float64s(sorted)
	s := Spread{Min: sorted[0], Max: sorted[n-1], Median: sorted[n/2], N: n}
	if n%2 == 0 {
		s.Median = (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return s
}

// value returns a metric of a run; latencies are metrics here, too.
func (r *Run) value(name string) (float64, bool) {
	if q, ok := quantileNames[name]; ok {
		d := q.of(r)
		if d == nil {
			return 0, false
		}
		return q.pick(d).Seconds(), true
	}
	v, ok := r.Metrics[name]
	return v, ok
}

// quantileNames are metrics computed of distributions.
var quantileNames = map[string]struct {
	of   func(*Run) *Distribution
	pick func(*Distribution) time.Duration
}{
	"latency_p50": {latencyOf, func(d *Distribution) time.Duration { return d.P50 }},
	"latency_p95": {latencyOf, func(d *Distribution) time.Duration { return d.P95 }},
	"latency_p99": {latencyOf, func(d *Distribution) time.Duration { return d.P99 }},
	"latency_max": {latencyOf, func(d *Distribution) time.Duration { return d.Max }},
	"join_p50":    {joinsOf, func(d *Distribution) time.Duration { return d.P50 }},
	"join_p99":    {joinsOf, func(d *Distribution) time.Duration { return d.P99 }},
	"join_max":    {joinsOf, func(d *Distribution) time.Duration { return d.Max }},
}

func latencyOf(r *Run) *Distribution { return r.Latency }
func joinsOf(r *Run) *Distribution   { return r.Joins }

// quantiles describes them, in the order of tables.
var quantiles = []Metric{
	{"latency_p50", "latency p50", Seconds, Lower, "half of the deliveries were faster, from publication to receipt", false},
	{"latency_p95", "latency p95", Seconds, Lower, "95 of 100 deliveries were faster", false},
	{"latency_p99", "latency p99", Seconds, Lower, "99 of 100 deliveries were faster", false},
	{"latency_max", "latency max", Seconds, Lower, "the slowest delivery", false},
	{"join_p50", "time to join p50", Seconds, Lower, "half of the clients were in sooner; all began at once", false},
	{"join_p99", "time to join p99", Seconds, Lower, "99 of 100 clients were in sooner", false},
	{"join_max", "time to join max", Seconds, Lower, "the last client", false},
}

// costs are the metrics a saturated run says nothing about.
func cost(m Metric, scenario string) bool {
	return m.Better != Neither && !(scenario == ceiling && m.Name == DeliveriesPerSecond) &&
		m.Name != Lost && m.Name != Duplicated && m.Name != Disordered
}

// spread returns a metric of one subject over its repeats. Saturated runs do
// not count for costs; saturated is true when there were only those.
func (g *group) spread(subject string, m Metric) (s Spread, saturated bool) {
	var values []float64
	for _, r := range g.runs[subject] {
		v, ok := r.value(m.Name)
		switch {
		case !ok:
		case r.Saturated != "" && g.Scenario != ceiling && cost(m, g.Scenario):
			saturated = true
		default:
			values = append(values, v)
		}
	}
	return spread(values), saturated && len(values) == 0
}

// worse returns how many times worse than the reference a subject is, each
// repeat of one with the same repeat of the other.
func (g *group) worse(subject, reference string, m Metric) Spread {
	var values []float64
	for _, a := range g.runs[subject] {
		for _, b := range g.runs[reference] {
			if a.Repeat != b.Repeat || g.unfit(a) || g.unfit(b) {
				continue
			}
			x, ok := a.value(m.Name)
			y, ok2 := b.value(m.Name)
			if !ok || !ok2 || x <= 0 || y <= 0 {
				continue
			}
			if m.Better == Higher {
				x, y = y, x
			}
			values = append(values, x/y)
		}
	}
	return spread(values)
}

// unfit runs are in no ratio.
func (g *group) unfit(r *Run) bool { return r.Saturated != "" && g.Scenario != ceiling }

// present lists the metrics that some run of the group has.
func (g *group) present() []Metric {
	var found []Metric
	for _, m := range slices.Concat(metrics, quantiles) {
		if g.has(m.Name) {
			found = append(found, m)
		}
	}
	// What headlines is first; what a newer version measured is last.
	slices.SortStableFunc(found, func(a, b Metric) int { return order(a, g.Scenario) - order(b, g.Scenario) })
	for _, name := range g.unknown() {
		found = append(found, Describe(name))
	}
	return found
}

// headline reports whether servers are compared by the metric in the scenario.
func headline(m Metric, scenario string) bool {
	if scenario == ceiling {
		return m.Name == DeliveriesPerSecond
	}
	return m.Headline
}

func order(m Metric, scenario string) int {
	switch {
	case headline(m, scenario):
		return 0
	case m.Unit == Seconds:
		return 1
	}
	return 2
}

func (g *group) has(name string) bool {
	for _, runs := range g.runs {
		for _, r := range runs {
			if _, ok := r.value(name); ok {
				return true
			}
		}
	}
	return false
}

func (g *group) unknown() []string {
	var names []string
	for _, runs := range g.runs {
		for _, r := range runs {
			for name := range r.Metrics {
				if !slices.ContainsFunc(metrics, func(m Metric) bool { return m.Name == name }) && !slices.Contains(names, name) {
					names = append(names, name)
				}
			}
		}
	}
	slices.Sort(names)
	return names
}

// repeats is the most runs of one subject.
func (g *group) repeats() int {
	n := 0
	for _, runs := range g.runs {
		n = max(n, len(runs))
	}
	return n
}

// remarks are what the figures of the group cannot tell, each once.
func (g *group) remarks() []string {
	var all []string
	for _, s := range g.subjects {
		for _, r := range g.runs[s] {
			if r.Saturated != "" {
				all = append(all, s+": saturated, not its cost: "+r.Saturated)
			}
			for _, p := range r.Problems {
				all = append(all, s+": "+p)
			}
		}
	}
	return counted(all)
}

// limits are what stopped the searches, each once.
func (g *group) limits() []string {
	var all []string
	for _, s := range g.subjects {
		for _, r := range g.runs[s] {
			if r.Limit != "" {
				all = append(all, s+": the limit is "+r.Limit)
			}
		}
	}
	return counted(all)
}

// counted says the same thing once, with how often it was said.
func counted(lines []string) []string {
	var unique []string
	times := make(map[string]int)
	for _, l := range lines {
		if times[l]++; times[l] == 1 {
			unique = append(unique, l)
		}
	}
	for i, l := range unique {
		if times[l] > 1 {
			unique[i] = fmt.Sprintf("%s (%d times)", l, times[l])
		}
	}
	return unique
}

// scenarioTitles name the scenarios for people.
var scenarioTitles = map[string]string{
	"steady": "Steady talk", "join-storm": "Everybody joins at once", "reconnect-storm": "Everybody reconnects at once",
	ceiling: "As much as it can", ceilingStep: "Rate raised step by step", "stalled": "Every tenth visitor is stuck",
	relay: "Signalling from the focus", "flood": "Visitors chat", "soak": "Steady for long", "idle": "Visitors listen",
}

func scenarioTitle(name string) string {
	if t, ok := scenarioTitles[name]; ok {
		return t
	}
	return name
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%s %ss", grouped(n), what)
}

// grouped writes a whole number with thin gaps between thousands.
func grouped(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

func sortedUnique(values []float64) []float64 {
	slices.Sort(values)
	return slices.Compact(values)
}
