package report

import (
	"fmt"
	"html/template"
	"slices"
	"sort"
	"strings"
)

// charts makes the figures of a page.
type charts struct {
	file      *File
	groups    []*group
	reference string
	made      int
}

func (c *charts) id() string {
	c.made++
	return fmt.Sprintf("chart-%d", c.made)
}

// tiles are what the reference is worth, in one row.
func (c *charts) tiles() []tile {
	var all []tile
	for _, name := range []string{CPUPerDelivery, "latency_p99", RSSPerSession, JoinsPerCPUSecond, DeliveriesPerSecond} {
		m := describeAny(name)
		if name == DeliveriesPerSecond {
			m.Label = "deliveries, at most"
		}
		if g := c.best(m); g != nil {
			s, _ := g.spread(c.reference, m)
			all = append(all, tile{m.Format(s.Median), m.Label, g.Setting.String()})
		}
	}
	if len(all) == 0 {
		return nil
	}
	lost := 0.0
	for i := range c.file.Runs {
		if r := &c.file.Runs[i]; r.Subject() == c.reference {
			lost += r.Metrics[Lost] + r.Metrics[Duplicated] + r.Metrics[Disordered]
		}
	}
	return append(all, tile{describeAny(Lost).Format(lost), "lost, doubled or out of order", "in all runs of " + c.reference})
}

func describeAny(name string) Metric {
	for _, m := range quantiles {
		if m.Name == name {
			return m
		}
	}
	return Describe(name)
}

// best is the setting in which the reference shows a metric: the one most
// servers have figures in, then the largest room, then the highest rate.
func (c *charts) best(m Metric) *group {
	var found *group
	most := [3]float64{-1}
	for _, g := range c.groups {
		if (m.Name == DeliveriesPerSecond) != (g.Scenario == ceiling) || g.Scenario == ceilingStep {
			continue
		}
		if s, _ := g.spread(c.reference, m); s.N == 0 {
			continue
		}
		subjects := 0
		for _, s := range g.subjects {
			if sp, _ := g.spread(s, m); sp.N > 0 {
				subjects++
			}
		}
		if worth := [3]float64{float64(subjects), float64(g.Visitors), g.Rate}; slices.Compare(worth[:], most[:]) > 0 {
			found, most = g, worth
		}
	}
	return found
}

// comparisons are bar charts of what counts most, each in one setting.
func (c *charts) comparisons() []figure {
	var all []figure
	for _, name := range []string{CPUPerDelivery, DeliveriesPerSecond, JoinsPerCPUSecond, RSSPerSession} {
		m := Describe(name)
		if g := c.best(m); g != nil && len(g.subjects) > 1 {
			all = append(all, c.compare(g, m))
		}
	}
	return all
}

func (c *charts) compare(g *group, m Metric) figure {
	chart := barChart{id: c.id(), title: capital(m.Label) + ", " + g.Setting.String(), format: tickFormat(m)}
	f := figure{Title: capital(m.Label), Caption: g.Setting.String() + ". " + capital(m.Meaning) + "; " + direction(m) + "."}
	f.Table = tableView{Head: []string{"median", "from – to", "times worse", "from – to"}}
	var said []string
	for _, s := range g.subjects {
		sp, saturated := g.spread(s, m)
		ratio := Spread{}
		if s != c.reference {
			ratio = g.worse(s, c.reference, m)
		}
		value := cell(sp, saturated, m)
		chart.bars = append(chart.bars, bar{subject: s, value: value + withRatio(ratio), spread: sp})
		f.Table.Rows = append(f.Table.Rows, rowView{Name: s, Cells: []string{value, fromTo(sp, m.Format), single(ratio, times), fromTo(ratio, times)}})
		said = append(said, s+" "+value)
	}
	chart.desc = strings.Join(said, ", ") + "."
	f.SVG = template.HTML(chart.draw()) // escaped where it is drawn
	return f
}

func withRatio(s Spread) string {
	if s.N == 0 {
		return ""
	}
	return "  ·  " + times(s.Median)
}

func direction(m Metric) string {
	switch m.Better {
	case Lower:
		return "less is better"
	case Higher:
		return "more is better"
	}
	return "neither more nor less is better"
}

// latencies are the distributions of every setting that has any.
func (c *charts) latencies() []figure {
	var all []figure
	for _, g := range c.groups {
		if g.Scenario == ceiling || g.Scenario == ceilingStep {
			continue
		}
		if f, ok := c.latency(g); ok {
			all = append(all, f)
		}
	}
	return all
}

func (c *charts) latency(g *group) (figure, bool) {
	chart := cdfChart{id: c.id(), title: "Latency, " + g.Setting.String()}
	f := figure{Title: g.Setting.String(), Table: tableView{Head: []string{"p50", "p95", "p99", "max"}}}
	var said []string
	for _, s := range g.subjects {
		r := middle(g.runs[s])
		if r == nil {
			continue
		}
		chart.curves = append(chart.curves, curve{s, r.Latency.CDF})
		f.Keys = append(f.Keys, lineKey(s))
		row := rowView{Name: s}
		for _, q := range []string{"latency_p50", "latency_p95", "latency_p99", "latency_max"} {
			v, _ := r.value(q)
			row.Cells = append(row.Cells, describeAny(q).Format(v))
		}
		if r.Saturated != "" {
			row.Name += " (saturated)"
		}
		f.Table.Rows = append(f.Table.Rows, row)
		said = append(said, fmt.Sprintf("%s: half within %s, 99 %% within %s", s, row.Cells[0], row.Cells[2]))
	}
	if g.repeats() > 1 {
		f.Caption = "Of each server the repeat with the middle p99."
	}
	chart.desc = strings.Join(said, "; ") + "."
	f.SVG = template.HTML(chart.draw()) // escaped where it is drawn
	return f, len(chart.curves) > 0
}

// middle is the run with the median p99; nil when none has a distribution.
func middle(runs []*Run) *Run {
	var with []*Run
	for _, r := range runs {
		if r.Latency != nil && len(r.Latency.CDF) > 0 {
			with = append(with, r)
		}
	}
	if len(with) == 0 {
		return nil
	}
	sort.SliceStable(with, func(i, j int) bool { return with[i].Latency.P99 < with[j].Latency.P99 })
	return with[(len(with)-1)/2]
}

// againstRate draws the cost for each number of visitors with several rates.
func (c *charts) againstRate() []figure {
	return c.lines(Describe(CPUPerDelivery), "stanzas per second into the room",
		func(s Setting) (float64, string) {
			return s.Rate, scenarioTitle(s.Scenario) + " · " + plural(s.Visitors, "visitor")
		},
		func(v float64) string { return rate(v) + "/s" })
}

// againstVisitors draws the cost for each rate with several numbers of
// visitors.
func (c *charts) againstVisitors() []figure {
	return c.lines(Describe(CPUPerDelivery), "visitors",
		func(s Setting) (float64, string) {
			return float64(s.Visitors), fmt.Sprintf("%s · %s stanzas/s", scenarioTitle(s.Scenario), rate(s.Rate))
		},
		func(v float64) string { return grouped(int(v)) })
}

// memory draws memory per session against visitors, where there are several.
func (c *charts) memory() []figure {
	return c.lines(Describe(RSSPerSession), "visitors",
		func(s Setting) (float64, string) { return float64(s.Visitors), scenarioTitle(s.Scenario) },
		func(v float64) string { return grouped(int(v)) })
}

// lines draws a metric against something: along tells a setting's place on the
// axis, and which settings belong into one chart.
func (c *charts) lines(m Metric, xLabel string, along func(Setting) (float64, string), xFormat func(float64) string) []figure {
	var order []string
	sets := make(map[string][]*group)
	for _, g := range c.groups {
		x, name := along(g.Setting)
		if g.Scenario == ceiling || x <= 0 || !g.has(m.Name) {
			continue
		}
		if sets[name] == nil {
			order = append(order, name)
		}
		sets[name] = append(sets[name], g)
	}
	var all []figure
	for _, name := range order {
		set := sets[name]
		slices.SortStableFunc(set, func(a, b *group) int {
			x, _ := along(a.Setting)
			y, _ := along(b.Setting)
			return int(x*1000) - int(y*1000)
		})
		if len(set) > 1 {
			all = append(all, c.lineFigure(m, name, set, xLabel, along, xFormat))
		}
	}
	return all
}

func (c *charts) lineFigure(m Metric, name string, set []*group, xLabel string, along func(Setting) (float64, string), xFormat func(float64) string) figure {
	chart := lineChart{
		id: c.id(), title: capital(m.Label) + " against " + xLabel + ", " + name,
		xLabel: xLabel + ", logarithmic", yLabel: m.Label + ", logarithmic", xFormat: xFormat, yFormat: tickFormat(m),
	}
	f := figure{Title: name}
	for _, g := range set {
		x, _ := along(g.Setting)
		f.Table.Head = append(f.Table.Head, xFormat(x))
	}
	var said []string
	for _, s := range c.file.subjects() {
		line, row := series{subject: s}, rowView{Name: s}
		for _, g := range set {
			x, _ := along(g.Setting)
			sp, saturated := g.spread(s, m)
			row.Cells = append(row.Cells, cell(sp, saturated, m))
			if saturated {
				sp = g.whatever(s, m)
			}
			if sp.N > 0 {
				line.points = append(line.points, datum{x, sp.Median, sp.Min, sp.Max, saturated,
					fmt.Sprintf("%s, %s: %s", s, xFormat(x), m.Format(sp.Median))})
			}
		}
		if len(line.points) == 0 {
			continue
		}
		chart.series = append(chart.series, line)
		f.Keys = append(f.Keys, lineKey(s))
		f.Table.Rows = append(f.Table.Rows, row)
		said = append(said, s+": "+strings.Join(row.Cells, ", "))
	}
	chart.desc = strings.Join(f.Table.Head, ", ") + ". " + strings.Join(said, "; ") + "."
	f.SVG = template.HTML(chart.draw()) // escaped where it is drawn
	return f
}

// whatever is the spread with saturated runs, for hollow points.
func (g *group) whatever(subject string, m Metric) Spread {
	var values []float64
	for _, r := range g.runs[subject] {
		if v, ok := r.value(m.Name); ok {
			values = append(values, v)
		}
	}
	return spread(values)
}

// lineKey shows how a subject's line looks.
func lineKey(subject string) key {
	s := styleOf(subject)
	return key{subject, template.HTML(fmt.Sprintf(
		`<svg viewBox="0 0 28 12" aria-hidden="true"><line class="line %s" x1="1" y1="6" x2="27" y2="6"/><path class="mark %s" d="%s"/></svg>`,
		s.class, s.class, shapePath(s.shape, 14, 6)))}
}

// rate writes a number of stanzas per second, whole where it is large.
func rate(v float64) string {
	if v < 100 {
		return fmt.Sprintf("%.3g", v)
	}
	return grouped(int(v + 0.5))
}
