package main

import (
	"context"
	"flag"
	"io"
	"strings"

	"vnode/bench/lab"
)

var profileCommand = command{
	name: "profile", summary: "a CPU profile of the node while it delivers",
	help: `Runs the steady scenario, takes a CPU profile of the node meanwhile and tells
which part of it is the kernel's. Look into it with go tool pprof.

  bench profile -o cpu.pprof
  go tool pprof -top cpu.pprof
`,
	setup: func(f *flag.FlagSet) func(context.Context, io.Writer, io.Writer, []string) error {
		var s settings
		s.declare(f)
		k := knobs{set: make(map[string]bool)}
		k.declare(f)
		transport := f.String("transport", "tcp", "how visitors connect: tcp, unix, bosh or xmpp")
		path := f.String("o", "cpu.pprof", "file for the profile")
		return func(ctx context.Context, out, progress io.Writer, _ []string) error {
			f.Visit(func(f *flag.Flag) { k.set[f.Name] = true })
			e, err := lab.Find("steady")
			if err != nil {
				return err
			}
			p, err := k.params(e.Default)
			if err != nil {
				return err
			}
			if err := checkTransport(*transport); err != nil {
				return err
			}
			p.Transport, p.Profile = strings.TrimSpace(*transport), *path
			return s.steps(ctx, out, progress, nil, []step{{e, p}}, 1)
		}
	},
}
