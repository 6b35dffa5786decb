package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"vnode/bench/lab"
	"vnode/bench/report"
	"vnode/cmd/internal/build"
)

// settings are the flags of every command that measures a node of its own.
type settings struct {
	vnode   string
	cores   int
	seed    uint64
	json    string
	html    string
	gobench string
	quiet   bool
}

func (s *settings) declare(f *flag.FlagSet) {
	f.StringVar(&s.vnode, "vnode", "", "the node's program; empty: the one beside bench, else built from ./cmd/vnode")
	f.IntVar(&s.cores, "cores", 1, "cores the node is pinned to; the load test gets the others. 0: nothing is pinned")
	f.Uint64Var(&s.seed, "seed", 1, "of the random arrivals; equal seeds are equal loads")
	f.StringVar(&s.json, "json", "", "also write the result to this file, as JSON")
	f.StringVar(&s.html, "html", "", "also write the result to this file, as a page")
	f.StringVar(&s.gobench, "gobench", "", "also write the result to this file in the format of Go benchmarks, for benchstat")
	f.BoolVar(&s.quiet, "quiet", false, "no progress bar")
}

// session is one invocation that measures.
type session struct {
	settings
	lab      *lab.Lab
	dir      string
	file     *report.File
	progress *progress
	out      io.Writer
	failed   bool // something could not be measured
}

// begin prepares a measurement; close the session. The node's program is not
// looked for when one that runs is measured.
func (s *settings) begin(ctx context.Context, out, progress io.Writer, target *lab.Target) (*session, error) {
	dir, err := os.MkdirTemp("", "vnode-bench-")
	if err != nil {
		return nil, err
	}
	v := &session{settings: *s, dir: dir, out: out}
	cores := lab.SplitCores(s.cores)
	if target != nil {
		cores = lab.Cores{} // where a node that runs is pinned is its operator's choice
	}
	v.lab = &lab.Lab{Target: target, Cores: cores, Seed: s.seed}
	if target == nil {
		if v.lab.Program, err = lab.FindNode(ctx, s.vnode, dir); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	// Behind the build, which may use every core.
	if err := cores.Apply(); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	v.progress = newProgress(progress, s.quiet)
	v.lab.Doing = v.progress.doing
	v.file = &report.File{Began: time.Now(), Command: command0(), Version: build.Version(), Machine: lab.Machine(cores)}
	return v, nil
}

// command0 is the command as typed, without the path of the program.
func command0() []string {
	return append([]string{filepath.Base(os.Args[0])}, os.Args[1:]...)
}

// step is one experiment of a plan.
type step struct {
	experiment lab.Experiment
	params     lab.Params
}

func (s *step) takes() time.Duration { return s.experiment.Takes(s.params) }

// measure runs the steps in order. What fails is noted, and the others go on;
// an interruption ends the session early.
func (v *session) measure(ctx context.Context, steps []step) []report.Run {
	var total time.Duration
	for i := range steps {
		total += steps[i].takes()
	}
	v.progress.plan(total)
	var all []report.Run
	for i := range steps {
		if ctx.Err() != nil {
			v.note("interrupted: %d of %d scenarios were not run", len(steps)-i, len(steps))
			break
		}
		st := &steps[i]
		v.progress.step(st.takes())
		runs, err := v.lab.Run(ctx, st.experiment, st.params)
		all = append(all, runs...)
		if err != nil {
			v.failed = true
			v.note("%v", err)
		}
	}
	v.progress.end()
	v.file.Runs = append(v.file.Runs, all...)
	return all
}

func (v *session) note(format string, args ...any) {
	v.file.Notes = append(v.file.Notes, fmt.Sprintf(format, args...))
}

// quietLimit is how much of a core others may use before it shows.
const quietLimit = 0.15

// disturbed notes that the machine was not quiet, which no figure shows by
// itself.
func (v *session) disturbed() {
	most := 0.0
	for i := range v.file.Runs {
		most = max(most, v.file.Runs[i].Metrics[report.OthersCPU])
	}
	if most > quietLimit {
		v.note("Other processes used up to %.1f of this machine's %d cores meanwhile. Times and costs would be better on a quiet machine; compare only ratios.",
			most, v.file.Machine.Cores)
	}
}

// errNotClean is a run that was wrong: the table says how.
var errNotClean = errors.New("something went wrong, see the notes and the lines that begin with an exclamation mark")

// finish prints the result, writes the files that were asked for and says
// whether all was well.
func (v *session) finish(ctx context.Context) error {
	v.file.Took = time.Since(v.file.Began)
	v.disturbed()
	if err := v.file.WriteTable(v.out); err != nil {
		return err
	}
	if err := v.write(v.file); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return errors.New("interrupted")
	}
	bad := v.failed
	for i := range v.file.Runs {
		bad = bad || len(v.file.Runs[i].Problems) > 0
	}
	if bad {
		return errNotClean
	}
	return nil
}

// write writes the files that were asked for.
func (s *settings) write(file *report.File) error {
	for _, w := range []struct {
		path  string
		write func(io.Writer) error
	}{
		{s.json, file.WriteJSON},
		{s.html, file.WriteHTML},
		{s.gobench, func(w io.Writer) error { return writeGoBench(w, file) }},
	} {
		if w.path == "" {
			continue
		}
		if err := writeFile(w.path, w.write); err != nil {
			return err
		}
	}
	return nil
}

func (v *session) close() error { return os.RemoveAll(v.dir) }

func writeFile(path string, write func(io.Writer) error) error {
	f, err := os.Create(filepath.Clean(path))
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}
