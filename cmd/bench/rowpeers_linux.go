package main

import (
	"context"
	"flag"
	"io"
	"maps"
	"os"
	"strings"

	"vnode/bench/compare"
)

// comparePeers carries a comparison out in the session's machine and adds its
// runs.
func (v *session) comparePeers(ctx context.Context, args string, repeat int) {
	self, err := os.Executable()
	if err != nil {
		v.note("%v", err)
		return
	}
	plan, err := planOf(args)
	if err != nil {
		v.note("%v", err)
		return
	}
	plan.Repeats = max(1, repeat)
	plan.LoadCores = len(v.lab.Cores.Load)
	plan.Options.Cores, plan.Options.VNode, plan.Options.Self = v.lab.Cores.Node, v.lab.Program, []string{self, floorCommand.name}
	plan.Say = v.progress.compared
	result := plan.Run(ctx)
	v.progress.end()
	v.file.Runs = append(v.file.Runs, result.Runs...)
	v.file.Notes = append(v.file.Notes, result.Notes...)
	if v.file.Servers == nil {
		v.file.Servers = make(map[string]string)
	}
	maps.Copy(v.file.Servers, result.Versions)
}

// planOf is what bench compare does with these arguments: a row measures what the
// command beside it does.
func planOf(args string) (compare.Plan, error) {
	var c comparing
	f := flag.NewFlagSet("compare", flag.ContinueOnError)
	f.SetOutput(io.Discard) // the error says what is wrong
	c.flags(f)
	if err := f.Parse(strings.Fields(args)); err != nil {
		return compare.Plan{}, err
	}
	err := c.parse()
	return c.plan, err
}
