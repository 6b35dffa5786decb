package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"
	"time"
)

//go:embed page.html
var pageText string

//go:embed page.css
var pageStyle string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// page is what the template shows.
type page struct {
	Style template.CSS
	Title string
	Lede  string
	// Reference is the subject the tiles are about.
	Reference string
	Facts     []fact
	Warnings  []string
	Tiles     []tile
	Sections  []section
	Tables    []tableView
	Glossary  []Metric
}

type fact struct {
	Name, Value string
	Code        bool // Value is a command
}

// tile is one figure of the reference, large.
type tile struct{ Value, Label, Detail string }

type section struct {
	ID, Title, Text string
	Figures         []figure
}

// figure is a chart with the same figures as a table.
type figure struct {
	Title, Caption string
	SVG            template.HTML
	Keys           []key
	Table          tableView
}

// key explains a line of a chart.
type key struct {
	Name string
	SVG  template.HTML
}

type tableView struct {
	ID, Caption string
	Head        []string
	Rows        []rowView
	Remarks     []string
	Limits      []string
}

type rowView struct {
	Name  string
	Sub   bool // tells more of the row before
	Cells []string
}

// WriteHTML writes the file as one page that needs nothing else: no script, no
// font, no image from anywhere.
func (f *File) WriteHTML(w io.Writer) error {
	p := f.page()
	if err := pageTemplate.Execute(w, p); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

func (f *File) page() *page {
	c := &charts{file: f, groups: f.groups(), reference: f.reference()}
	p := &page{
		Style: template.CSS(pageStyle), Title: "Load test", Lede: f.lede(), Facts: f.facts(), Warnings: f.warnings(c.groups),
		Tiles: c.tiles(), Glossary: slices.Concat(metrics, quantiles),
	}
	if servers := f.servers(); len(servers) > 0 {
		p.Title, p.Reference = "Load test of "+servers[0], c.reference
		if len(servers) > 1 {
			p.Title = capital(servers[0]) + " beside " + list(servers[1:])
		}
	}
	for _, s := range []section{
		{"servers", "Server beside server", "Each server did the same work, in turns. Points and bars are medians of the repeats; the thin lines reach from the lowest to the highest. “Times worse” compares with " + c.reference + " within the same repeat.", c.comparisons()},
		{"latency", "How long a stanza takes", "From when a stanza was due to be published until each client had read it. A curve further to the left is faster; where it turns flat early, some clients wait much longer than most.", c.latencies()},
		{"rate", "Cost against the rate", "What one delivery costs when more is said. Each delivery needs a system call and wakes its receiver; who can send several stanzas at once gets cheaper as the rate grows. Hollow points are saturated: the server could not follow.", c.againstRate()},
		{"visitors", "Cost against the number of visitors", "What one delivery costs when more listen. Flat or falling lines grow with the room.", c.againstVisitors()},
		{"memory", "Memory for each session", "Growth of the server's resident memory for a client that has joined and is idle.", c.memory()},
	} {
		s.Figures = slices.DeleteFunc(s.Figures, func(f figure) bool { return f.SVG == "" })
		if len(s.Figures) > 0 {
			p.Sections = append(p.Sections, s)
		}
	}
	for i, g := range c.groups {
		if g.Scenario == ceilingStep {
			continue
		}
		p.Tables = append(p.Tables, g.view(fmt.Sprintf("all-%d", i+1), c.reference))
	}
	return p
}

// servers are the servers of a file whatever the transport, in order of their
// subjects.
func (f *File) servers() []string {
	var all []string
	for _, s := range f.subjects() {
		name, _, _ := strings.Cut(s, "/")
		if name == "floor" {
			name = "the floor"
		}
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// lede says in a sentence what was done.
func (f *File) lede() string {
	all := f.subjects()
	if len(all) == 0 {
		return "Nothing was measured."
	}
	servers := f.servers()
	visitors, repeats := 0, 0
	for i := range f.Runs {
		visitors, repeats = max(visitors, f.Runs[i].Visitors), max(repeats, f.Runs[i].Repeat)
	}
	text := fmt.Sprintf("One room with up to %s, who get what a few participants say and do.", plural(visitors, "visitor"))
	if len(servers) > 1 {
		text += fmt.Sprintf(" %s did this one after the other", capital(list(servers)))
		if repeats > 1 {
			text += fmt.Sprintf(", %d times", repeats)
		}
		text += ", with the same stanzas and the same clients."
	}
	return text
}

func (f *File) facts() []fact {
	facts := []fact{
		{Name: "Machine", Value: f.Machine.describe()},
		{Name: "Pinning", Value: f.Machine.Pinning},
		{Name: "Taken", Value: f.Began.UTC().Format("2 January 2006, 15:04 MST") + ", in " + f.Took.Round(time.Second).String()},
	}
	var versions []string
	for _, s := range f.servers() {
		if v := f.Servers[s]; v != "" {
			versions = append(versions, strings.TrimSpace(s+" "+strings.TrimPrefix(v, s+" ")))
		}
	}
	facts = append(facts, fact{Name: "Servers", Value: strings.Join(versions, "; ")},
		fact{Name: "Load test", Value: f.Version}, fact{Name: "Command", Value: strings.Join(f.Command, " "), Code: true})
	return slices.DeleteFunc(facts, func(f fact) bool { return strings.TrimSpace(f.Value) == "" })
}

// warnings are the notes, and how many runs went wrong.
func (f *File) warnings(groups []*group) []string {
	warnings := slices.Clone(f.Notes)
	saturated, wrong := 0, 0
	for i := range f.Runs {
		if r := &f.Runs[i]; r.Saturated != "" && r.Scenario != ceiling && r.Scenario != ceilingStep {
			saturated++
		}
		if len(f.Runs[i].Problems) > 0 {
			wrong++
		}
	}
	if wrong > 0 {
		warnings = append(warnings, fmt.Sprintf("In %d of %s something went wrong; see “!” below the tables.", wrong, plural(len(f.Runs), "run")))
	}
	if saturated > 0 {
		warnings = append(warnings, fmt.Sprintf("%d of %s were saturated: their figures are not what the work costs, and are in no comparison.", saturated, plural(len(f.Runs), "run")))
	}
	return warnings
}

// view is the group's whole table.
func (g *group) view(id, reference string) tableView {
	v := tableView{ID: id, Caption: g.Setting.String(), Head: g.subjects, Remarks: g.remarks(), Limits: g.limits()}
	if n := g.repeats(); n > 1 {
		v.Caption += fmt.Sprintf(" · %d repeats", n)
	}
	for _, m := range g.present() {
		for i, row := range g.rows(m, reference) {
			v.Rows = append(v.Rows, rowView{Name: strings.TrimSpace(row[0]), Sub: i > 0, Cells: row[1:]})
		}
	}
	return v
}

// list joins names as a sentence does.
func list(names []string) string {
	if len(names) < 2 {
		return strings.Join(names, "")
	}
	return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
}

func capital(s string) string {
	if s == "" || strings.HasPrefix(s, "vnode") {
		return s // a name that is written small
	}
	return strings.ToUpper(s[:1]) + s[1:]
}
