package check

import (
	"context"
	"path/filepath"
	"strings"

	"vnode/cmd/internal/state"
)

// lookState is whether the unit's user gets at the state directory, where that is
// one of the system's. Elsewhere it belongs to a person who runs the node.
func (c *checker) lookState(context.Context) []Finding {
	dir, err := c.cfg.StateDirectory()
	if err != nil {
		return []Finding{skipped(err.Error(), "name it: state-dir = \"…\"")}
	}
	if rel, err := filepath.Rel(filepath.Join("/", c.Root), dir); err != nil || strings.HasPrefix(rel, "..") || filepath.Base(filepath.Dir(dir)) != "vnode" {
		return []Finding{ok("the state is in " + dir)}
	}
	if f := state.FaultOf(filepath.Join("/", c.Root), dir, -1); f != nil {
		return []Finding{{Level: Fail, What: f.What, Why: "The unit vnode@ cannot start the node: it needs " + dir + ".", File: f.Path, Fix: f.Fix}}
	}
	return []Finding{ok("the unit's user gets at " + dir)}
}
