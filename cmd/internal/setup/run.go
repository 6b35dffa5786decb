package setup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// Run plans, then shows or applies what was planned, and says what to do next.
// It writes to w as it goes.
func Run(ctx context.Context, o *Options, w io.Writer) error {
	p, err := Make(ctx, o)
	if err != nil {
		return err
	}
	if o.DryRun {
		if err := p.WriteDiff(w); err != nil {
			return err
		}
		p.writeSummary(w, "would be")
		return nil
	}
	if err := p.Apply(); err != nil {
		return err
	}
	refused := p.testNginx(ctx, o)
	p.writeSummary(w, "was")
	if o.Start {
		return errors.Join(p.start(ctx, w), refused)
	}
	p.writeNext(w)
	return refused
}

func (p *Plan) writeSummary(w io.Writer, verb string) {
	p.WriteSummary(w, verb)
	if p.Empty() {
		fmt.Fprintln(w, "Nothing to change: all is as it should be.")
	}
	for _, path := range p.Kept() {
		fmt.Fprintf(w, "%s is left alone: it was changed by hand. -force overwrites it.\n", path)
	}
	for _, n := range p.Notes {
		fmt.Fprintf(w, "\nBy hand: %s\n", n)
	}
}

func (p *Plan) writeNext(w io.Writer) {
	if len(p.Next) == 0 {
		return
	}
	fmt.Fprint(w, "\nNext, as root:\n")
	width := 0
	for _, s := range p.Next {
		width = max(width, min(len(s.String()), 60))
	}
	for _, s := range p.Next {
		fmt.Fprintf(w, "  %-*s  # %s\n", width, s, s.Why)
	}
}

// start runs the last steps. The output of a step is shown when it fails.
func (p *Plan) start(ctx context.Context, w io.Writer) error {
	for i, s := range p.Next {
		fmt.Fprintf(w, "%s\n", s)
		out, err := exec.CommandContext(ctx, s.Args[0], s.Args[1:]...).CombinedOutput()
		if err != nil {
			rest := make([]string, 0, len(p.Next))
			for _, r := range p.Next[i:] {
				rest = append(rest, r.String())
			}
			return fmt.Errorf("%s: %w\n%s\nAll files are in place. When this is mended, go on with: %s", s, err, strings.TrimSpace(string(out)), strings.Join(rest, " && "))
		}
	}
	return nil
}
