// Command demo shows a visitor node at work: a main Prosody, the node as a
// process of its own, a scripted focus, participants who come, go, mute and
// chat, and hundreds of visitors by WebSocket, some of whom lose their network
// and come back. It ends by itself with a summary and exits 0 only if every
// stanza reached everybody once and in order.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// options are the flags.
type options struct {
	vnode        string
	main         string
	port         int
	c2s, http    string
	visitors     int
	participants int
	joinRate     float64
	talk         time.Duration
	cuts         float64
	json         string
}

// Values of -main.
const (
	mainAuto      = "auto"
	mainProsody   = "prosody"
	mainSimulated = "simulated"
)

const usage = `Shows a visitor node at work and checks what everybody gets.

Usage: go run ./cmd/demo [flags]

`

func parse(args []string, out io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("demo", flag.ContinueOnError)
	f.SetOutput(out)
	f.Usage = func() { fmt.Fprint(out, usage); f.PrintDefaults() }
	f.StringVar(&o.vnode, "vnode", "", "the node's program; built from ./cmd/vnode when empty")
	f.StringVar(&o.main, "main", mainAuto, "the main side: prosody, simulated, or auto: prosody where it is installed")
	f.IntVar(&o.port, "port", 52693, "the node's port for server streams")
	f.StringVar(&o.c2s, "c2s", "127.0.0.1:52223", "the node's address for client streams")
	f.StringVar(&o.http, "http", "127.0.0.1:52803", "the node's address for WebSocket")
	f.IntVar(&o.visitors, "visitors", 500, "how many visitors join")
	f.IntVar(&o.participants, "participants", 4, "how many participants are in the main room at a time")
	f.Float64Var(&o.joinRate, "join-rate", 60, "visitors that join per second")
	f.DurationVar(&o.talk, "talk", 12*time.Second, "how long everybody talks once all visitors are in")
	f.Float64Var(&o.cuts, "cuts", 2, "visitors that lose their network and resume their session, per second; 0: none")
	f.StringVar(&o.json, "json", "", "also write the report to this file")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	return o, o.check(f.NArg())
}

func (o options) check(extra int) error {
	switch {
	case extra > 0:
		return errors.New("there are no arguments, only flags; see -help")
	case o.main != mainAuto && o.main != mainProsody && o.main != mainSimulated:
		return fmt.Errorf("-main %s: choose auto, prosody or simulated", o.main)
	case o.port < 1 || o.port > 65535:
		return fmt.Errorf("-port %d: choose 1 to 65535", o.port)
	case o.visitors < 1 || o.participants < 2:
		return errors.New("a conference takes at least 1 visitor and 2 participants: raise -visitors or -participants")
	case o.joinRate <= 0 || o.talk <= 0:
		return errors.New("-join-rate and -talk must be above 0")
	case o.cuts < 0:
		return fmt.Errorf("-cuts %g: choose 0 or more", o.cuts)
	}
	return nil
}

func main() {
	o, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		os.Exit(0)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// A second signal ends the demo at once; its children die with it.
	context.AfterFunc(ctx, stop)
	if err := run(ctx, o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}
