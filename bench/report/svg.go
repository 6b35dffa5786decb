package report

import (
	"fmt"
	"html"
	"strings"
	"unicode/utf8"
)

// drawing is one SVG under way. Colours are classes, which the page's style
// sheet gives a meaning in light and dark.
type drawing struct {
	b    strings.Builder
	w, h float64
}

// newDrawing begins an SVG with a name and a description for those who cannot
// see it. id is unique in the page.
func newDrawing(id string, w, h float64, title, desc string) *drawing {
	d := &drawing{w: w, h: h}
	fmt.Fprintf(&d.b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %s %s" role="img" aria-labelledby="%s-t %s-d">`, num(w), num(h), id, id)
	fmt.Fprintf(&d.b, `<title id="%s-t">%s</title><desc id="%s-d">%s</desc>`, id, html.EscapeString(title), id, html.EscapeString(desc))
	return d
}

func (d *drawing) svg() string { return d.b.String() + "</svg>" }

func (d *drawing) line(class string, x1, y1, x2, y2 float64) {
	fmt.Fprintf(&d.b, `<line class="%s" x1="%s" y1="%s" x2="%s" y2="%s"/>`, class, num(x1), num(y1), num(x2), num(y2))
}

func (d *drawing) rect(class string, x, y, w, h, r float64) {
	fmt.Fprintf(&d.b, `<rect class="%s" x="%s" y="%s" width="%s" height="%s" rx="%s"/>`, class, num(x), num(y), num(max(w, 0)), num(h), num(r))
}

func (d *drawing) text(class, anchor string, x, y float64, s string) {
	fmt.Fprintf(&d.b, `<text class="%s" x="%s" y="%s" text-anchor="%s">%s</text>`, class, num(x), num(y), anchor, html.EscapeString(s))
}

// point is one of a line; title is shown when it is pointed at.
type point struct {
	x, y  float64
	title string
	open  bool // drawn hollow: not to be taken at its word
}

// path draws a line through points.
func (d *drawing) path(class string, ps []point) {
	if len(ps) < 2 {
		return
	}
	fmt.Fprintf(&d.b, `<polyline class="%s" points="%s"/>`, class, coordinates(ps))
}

// area fills what points enclose.
func (d *drawing) area(class string, ps []point) {
	fmt.Fprintf(&d.b, `<polygon class="%s" points="%s"/>`, class, coordinates(ps))
}

func coordinates(ps []point) string {
	var b strings.Builder
	for i, p := range ps {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(num(p.x) + "," + num(p.y))
	}
	return b.String()
}

// marker draws a point in the shape of its series, so that series are told
// apart without their colours.
func (d *drawing) marker(shape int, class string, p point) {
	if p.open {
		class += " open"
	}
	fmt.Fprintf(&d.b, `<path class="mark %s" d="%s"><title>%s</title></path>`, class, shapePath(shape, p.x, p.y), html.EscapeString(p.title))
}

// tickRow writes labels side by side and leaves out what would touch the one
// before.
type tickRow struct {
	d    *drawing
	y    float64
	free float64 // where the next may begin
}

// tickWidth is what a character takes at most: on a narrow screen the style
// sheet enlarges them.
const tickWidth = 8.4

func (r *tickRow) label(at float64, text string) {
	width := tickWidth * float64(utf8.RuneCountInString(text))
	anchor, begin := "middle", at-width/2
	if begin < 0 {
		anchor, begin = "start", at
	}
	if begin+width > r.d.w {
		anchor, begin = "end", at-width
	}
	if begin < r.free {
		return
	}
	r.d.text("tick", anchor, at, r.y, text)
	r.free = begin + width + tickWidth/2
}

// shapes are circle, square, triangle, diamond and the triangle upside down.
const shapes = 5

func shapePath(shape int, x, y float64) string {
	const r = 4.2
	p := func(points ...float64) string {
		var b strings.Builder
		for i := 0; i < len(points); i += 2 {
			b.WriteByte("ML"[min(i, 1)])
			b.WriteString(num(x+r*points[i]) + " " + num(y+r*points[i+1]))
		}
		return b.String() + "Z"
	}
	switch shape % shapes {
	case 1:
		return p(-0.88, -0.88, 0.88, -0.88, 0.88, 0.88, -0.88, 0.88)
	case 2:
		return p(0, -1.15, 1.1, 0.85, -1.1, 0.85)
	case 3:
		return p(0, -1.25, 1.25, 0, 0, 1.25, -1.25, 0)
	case 4:
		return p(0, 1.15, 1.1, -0.85, -1.1, -0.85)
	}
	return fmt.Sprintf("M%s %sa%s %s 0 1 0 %s 0a%s %s 0 1 0 -%s 0Z", num(x-r), num(y), num(r), num(r), num(2*r), num(r), num(r), num(2*r))
}

// num writes a coordinate to a tenth.
func num(v float64) string {
	return strings.TrimSuffix(fmt.Sprintf("%.1f", v), ".0")
}
