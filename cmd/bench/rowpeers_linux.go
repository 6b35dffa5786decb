package main

import (
	"context"
	"maps"
	"os"

	"vnode/bench/compare"
	"vnode/bench/peers"
)

// comparePeers carries a comparison out in the session's machine and adds its
// runs.
func (v *session) comparePeers(ctx context.Context, plan compare.Plan, names []string, repeat int) {
	self, err := os.Executable()
	if err != nil {
		v.note("%v", err)
		return
	}
	for _, name := range names {
		k, err := peers.FindKind(name)
		if err != nil {
			v.note("%v", err)
			return
		}
		plan.Kinds = append(plan.Kinds, k)
	}
	plan.Repeats = max(1, repeat)
	plan.LoadCores = len(v.lab.Cores.Load)
	plan.Options = peers.Options{Cores: v.lab.Cores.Node, VNode: v.lab.Program, Self: []string{self, floorCommand.name}}
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
