package check

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
)

// WriteText tells one finding.
func (f Finding) WriteText(w io.Writer) {
	mark := map[Level]string{OK: "ok", Skipped: "--", Warn: "WARN", Fail: "FAIL"}[f.Level]
	line := func(label, text string) {
		if text != "" {
			fmt.Fprintf(w, "      %-4s %s\n", label, strings.ReplaceAll(text, "\n", "\n           "))
		}
	}
	fmt.Fprintf(w, "%-5s %s: %s\n", mark, f.Check, f.What)
	line("why", f.Why)
	line("in", f.File)
	line("fix", f.Fix)
}

// WriteSummary counts the findings.
func (r *Report) WriteSummary(w io.Writer) {
	count := map[Level]int{}
	for _, f := range r.Findings {
		count[f.Level]++
	}
	verdict := "All fits."
	if !r.OK {
		verdict = "Something is wrong."
	}
	fmt.Fprintf(w, "\n%s: %d ok, %d warnings, %d errors, %d not looked at. %s\n", r.Node,
		count[OK], count[Warn], count[Fail], count[Skipped], verdict)
}

// WriteJSON writes the report as one object.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(r)
}
