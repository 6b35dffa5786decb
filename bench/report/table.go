package report

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// WriteTable writes the file for a terminal: a table for each setting, servers
// side by side.
func (f *File) WriteTable(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, %s\n", f.Machine.describe(), f.Machine.Pinning)
	fmt.Fprintf(&b, "%s, took %s: %s\n", f.Began.UTC().Format(time.RFC3339), f.Took.Round(time.Second), strings.Join(f.Command, " "))
	reference := f.reference()
	for _, g := range f.groups() {
		if g.Scenario == ceilingStep {
			continue
		}
		b.WriteByte('\n')
		g.table(&b, reference)
	}
	for _, n := range f.Notes {
		fmt.Fprintf(&b, "\nNote: %s\n", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (m Machine) describe() string {
	text := m.CPU
	if m.Cores > 0 {
		text += fmt.Sprintf(" (%d cores)", m.Cores)
	}
	if m.Memory > 0 {
		text += fmt.Sprintf(", %.0f GiB", float64(m.Memory)/(1<<30))
	}
	for _, more := range []string{m.OS, m.Go} {
		if more != "" {
			text += ", " + more
		}
	}
	return strings.TrimPrefix(text, ", ")
}

// reference is the subject others are compared with.
func (f *File) reference() string {
	if all := f.subjects(); len(all) > 0 {
		return all[0]
	}
	return ""
}

func (g *group) table(b *strings.Builder, reference string) {
	title := g.Setting.String()
	if n := g.repeats(); n > 1 {
		title += fmt.Sprintf(" · %d repeats, medians", n)
	}
	b.WriteString(title + "\n")
	rows := [][]string{append([]string{""}, g.subjects...)}
	for _, m := range g.present() {
		rows = append(rows, g.rows(m, reference)...)
	}
	align(b, rows)
	for _, l := range g.limits() {
		b.WriteString("  " + l + "\n")
	}
	for _, r := range g.remarks() {
		b.WriteString("  ! " + r + "\n")
	}
}

// rows are a metric's: the medians, and for what counts most their spread and
// how many times worse than the reference it is, with the spread of that.
func (g *group) rows(m Metric, reference string) [][]string {
	value, between := []string{m.Label}, []string{"  from – to"}
	worse, worseBetween := []string{"  times worse than " + reference}, []string{"    from – to"}
	for _, s := range g.subjects {
		sp, saturated := g.spread(s, m)
		value = append(value, cell(sp, saturated, m))
		between = append(between, fromTo(sp, m.Format))
		ratio := Spread{}
		if s != reference {
			ratio = g.worse(s, reference, m)
		}
		worse = append(worse, single(ratio, times))
		worseBetween = append(worseBetween, fromTo(ratio, times))
	}
	rows := [][]string{value}
	if !headline(m, g.Scenario) {
		return rows
	}
	for _, more := range [][]string{between, worse, worseBetween} {
		if strings.Join(more[1:], "") != "" {
			rows = append(rows, more)
		}
	}
	return rows
}

func cell(s Spread, saturated bool, m Metric) string {
	switch {
	case saturated:
		return "saturated"
	case s.N == 0:
		return "–"
	}
	return m.Format(s.Median)
}

func single(s Spread, format func(float64) string) string {
	if s.N == 0 {
		return ""
	}
	return format(s.Median)
}

// fromTo leaves the unit out of the first figure where both have the same.
func fromTo(s Spread, format func(float64) string) string {
	if s.N < 2 {
		return ""
	}
	lo, hi := format(s.Min), format(s.Max)
	if i := strings.LastIndexByte(hi, ' '); i >= 0 && strings.HasSuffix(lo, hi[i:]) {
		lo = strings.TrimSuffix(lo, hi[i:])
	}
	for _, unit := range []string{"×", "/s"} {
		if strings.HasSuffix(hi, unit) {
			lo = strings.TrimSuffix(lo, unit)
		}
	}
	return lo + "–" + hi
}

// align writes rows in columns, the first to the left, others to the right.
func align(b *strings.Builder, rows [][]string) {
	var widths []int
	for _, row := range rows {
		for i, c := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(c))
		}
	}
	for _, row := range rows {
		line := ""
		for i, c := range row {
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c))
			if i == 0 {
				line += "  " + c + pad
				continue
			}
			line += "   " + pad + c
		}
		b.WriteString(strings.TrimRight(line, " ") + "\n")
	}
}
