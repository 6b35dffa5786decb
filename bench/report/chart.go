package report

import (
	"fmt"
	"math"
	"slices"
)

// Every chart is drawn this wide: its text is legible on a telephone, where it
// is shown smaller, and not coarse on a desk.
const chartWidth = 480

// series is one line of a chart.
type series struct {
	subject string
	points  []datum
}

// datum is a figure with its spread.
type datum struct {
	x         float64
	y, lo, hi float64
	open      bool
	title     string
}

// lineChart draws figures against something, both on logarithmic axes.
type lineChart struct {
	id, title, desc string
	xLabel, yLabel  string
	xFormat         func(float64) string
	yFormat         func(float64) string
	series          []series
}

const (
	lineHeight   = 300
	marginLeft   = 58
	marginRight  = 14
	marginTop    = 26
	marginBottom = 42
)

func (c *lineChart) draw() string {
	var xs, ys []float64
	for _, s := range c.series {
		for _, p := range s.points {
			xs, ys = append(xs, p.x), append(ys, p.y, p.lo, p.hi)
		}
	}
	x0, x1, ok := bounds(xs)
	y0, y1, ok2 := bounds(ys)
	if !ok || !ok2 {
		return ""
	}
	y0, y1 = logRange(y0, y1)
	d := newDrawing(c.id, chartWidth, lineHeight, c.title, c.desc)
	x := axis{lo: x0, hi: x1, log: true, from: marginLeft + 12, to: chartWidth - marginRight - 10, format: c.xFormat}
	y := axis{lo: y0, hi: y1, log: true, from: lineHeight - marginBottom, to: marginTop, format: c.yFormat}
	c.grid(d, x, y, distinct(xs))
	for _, s := range c.series {
		drawSeries(d, s, x, y)
	}
	return d.svg()
}

// grid draws the axes. Along x only what was measured is marked.
func (c *lineChart) grid(d *drawing, x, y axis, measured []float64) {
	for _, t := range y.ticks() {
		d.line("grid", marginLeft, y.at(t.value), chartWidth-marginRight, y.at(t.value))
		d.text("tick", "end", marginLeft-7, y.at(t.value)+4, t.label)
	}
	row := tickRow{d: d, y: y.from + 16}
	for _, v := range measured {
		d.line("grid", x.at(v), y.to, x.at(v), y.from)
		row.label(x.at(v), x.format(v))
	}
	d.line("axis", marginLeft, y.from, chartWidth-marginRight, y.from)
	d.text("label", "start", 2, 13, c.yLabel)
	d.text("label", "end", chartWidth-marginRight, lineHeight-6, c.xLabel)
}

func drawSeries(d *drawing, s series, x, y axis) {
	style := styleOf(s.subject)
	var line, band, below []point
	for _, p := range s.points {
		line = append(line, point{x: x.at(p.x), y: y.at(p.y), title: p.title, open: p.open})
		band = append(band, point{x: x.at(p.x), y: y.at(p.hi)})
		below = append(below, point{x: x.at(p.x), y: y.at(p.lo)})
	}
	for i := len(below) - 1; i >= 0; i-- {
		band = append(band, below[i])
	}
	if len(line) > 1 {
		d.area("band "+style.class, band)
	}
	d.path("line "+style.class, line)
	for i, p := range line {
		if hi, lo := band[i].y, below[i].y; lo-hi > 1 {
			d.line("whisker "+style.class, p.x, hi, p.x, lo)
		}
		d.marker(style.shape, style.class, p)
	}
}

// cdfChart draws cumulative distributions of durations.
type cdfChart struct {
	id, title, desc string
	curves          []curve
}

type curve struct {
	subject string
	points  []Point
}

func (c *cdfChart) draw() string {
	var all []float64
	for _, k := range c.curves {
		for _, p := range k.points {
			all = append(all, p.At.Seconds())
		}
	}
	lo, hi, ok := bounds(all)
	if !ok {
		return ""
	}
	lo, hi = logRange(lo, hi)
	d := newDrawing(c.id, chartWidth, lineHeight, c.title, c.desc)
	seconds := Metric{Unit: Seconds}
	x := axis{lo: lo, hi: hi, log: true, from: marginLeft - 10, to: chartWidth - marginRight - 8, format: tickFormat(seconds)}
	y := axis{lo: 0, hi: 1, from: lineHeight - marginBottom, to: marginTop}
	for _, part := range []float64{0, 0.25, 0.5, 0.75, 1} {
		d.line("grid", x.from, y.at(part), chartWidth-marginRight, y.at(part))
		d.text("tick", "end", x.from-7, y.at(part)+4, fmt.Sprintf("%.0f %%", 100*part))
	}
	row := tickRow{d: d, y: y.from + 16}
	for _, t := range x.ticks() {
		d.line("grid", x.at(t.value), y.to, x.at(t.value), y.from)
		row.label(x.at(t.value), t.label)
	}
	d.line("axis", x.from, y.from, chartWidth-marginRight, y.from)
	d.text("label", "start", 2, 13, "delivered within that time")
	d.text("label", "end", chartWidth-marginRight, lineHeight-6, "time from publication, logarithmic")
	for _, k := range c.curves {
		ps := []point{{x: x.at(k.points[0].At.Seconds()), y: y.at(0)}}
		for _, p := range k.points {
			ps = append(ps, point{x: x.at(p.At.Seconds()), y: y.at(p.Fraction)})
		}
		d.path("line "+styleOf(k.subject).class, ps)
	}
	return d.svg()
}

// bar is one row of a bar chart.
type bar struct {
	subject, value string
	spread         Spread
}

// barChart compares one figure of several servers.
type barChart struct {
	id, title, desc string
	format          func(float64) string
	bars            []bar
}

const (
	barRow  = 42
	barHead = 6
	barFoot = 22
	// beyond is the ratio of figures at which bars would be invisible: then
	// points on a logarithmic axis are drawn in their place.
	beyond = 15
)

func (c *barChart) draw() string {
	var all []float64
	for _, b := range c.bars {
		all = append(all, b.spread.Min, b.spread.Max)
	}
	lo, hi, ok := bounds(all)
	if !ok {
		return ""
	}
	h := float64(barHead + barRow*len(c.bars) + barFoot)
	d := newDrawing(c.id, chartWidth, h, c.title, c.desc)
	x := axis{lo: 0, hi: hi * 1.02, from: 2, to: chartWidth - 12, format: c.format}
	if hi/lo > beyond {
		x.log = true
		x.lo, x.hi = logRange(lo/1.3, hi)
	}
	c.scale(d, x, h)
	for i, b := range c.bars {
		c.row(d, x, float64(barHead+i*barRow), b)
	}
	return d.svg()
}

func (c *barChart) scale(d *drawing, x axis, h float64) {
	row := tickRow{d: d, y: h - 6}
	for _, t := range x.ticks() {
		d.line("grid", x.at(t.value), barHead, x.at(t.value), h-barFoot)
		row.label(x.at(t.value), t.label)
	}
}

func (c *barChart) row(d *drawing, x axis, top float64, b bar) {
	style := styleOf(b.subject)
	d.text("name", "start", 2, top+14, b.subject)
	d.text("value", "end", chartWidth-12, top+14, b.value)
	if b.spread.N == 0 {
		return
	}
	const thick = 13
	y := top + 20
	if x.log {
		d.rect("track", x.from, y+thick/2-1, x.at(b.spread.Median)-x.from, 2, 1)
	} else {
		d.rect("bar "+style.class, x.from, y, x.at(b.spread.Median)-x.from, thick, 2)
	}
	if b.spread.N > 1 {
		d.line("whisker bold "+style.class, x.at(b.spread.Min), y+thick/2, x.at(b.spread.Max), y+thick/2)
	}
	if x.log {
		d.marker(style.shape, style.class, point{x: x.at(b.spread.Median), y: y + thick/2, title: b.subject + ": " + b.value})
	}
}

// style is how a subject looks in every chart.
type style struct {
	class string
	shape int
}

var styles = map[string]style{
	"vnode": {"s0", 0}, "vnode/unix": {"s1", 1}, "prosody": {"s2", 2}, "ejabberd": {"s3", 3},
	"prosody-default-gc": {"s4", 4}, "floor": {"s5", 0}, "floor/unix": {"s6", 1},
}

// styleOf returns the subject's style; what is not known gets one by its name,
// the same in all charts.
func styleOf(subject string) style {
	if s, ok := styles[subject]; ok {
		return s
	}
	sum := 0
	for _, r := range subject {
		sum = sum*31 + int(r)
	}
	const classes = 7
	sum &= math.MaxInt32
	return style{fmt.Sprintf("s%d", sum%classes), sum / classes % shapes}
}

func distinct(values []float64) []float64 {
	all := slices.Clone(values)
	return sortedUnique(all)
}
