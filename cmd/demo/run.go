package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"vnode/internal/child"
	"vnode/internal/xmpptest/conference"
)

// Names of the demo's conference: node 3 of the default main domain.
const (
	mainDomain  = "meet.jitsi"
	nodeID      = "3"
	nodeDomain  = "v" + nodeID + ".meet.jitsi"
	roomName    = "demo"
	nodeRoom    = roomName + "@conference." + nodeDomain
	focusJID    = "focus@auth.meet.jitsi/focus"
	cleanupTime = 15 * time.Second // for each thing that is stopped
)

// errNotClean is a demo that ran to its end and found something wrong: the
// summary says what.
var errNotClean = errors.New("something went wrong, see PROBLEM above")

// run runs the demo; the summary goes to out, progress to progress.
func run(ctx context.Context, o options, out, progress io.Writer) (err error) {
	if err := checkPorts(o); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "vnode-demo-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	s := &stage{options: o, dir: dir, ledger: conference.NewLedger(), progress: progress}
	report, err := s.perform(ctx)
	err = errors.Join(err, s.close())
	if report == nil {
		return errors.Join(err, s.nodeLog())
	}
	if err != nil {
		report.Problems = append(report.Problems, err.Error())
	}
	fmt.Fprintln(out)
	if err := report.WriteTable(out); err != nil {
		return err
	}
	if err := s.writeJSON(report); err != nil {
		return err
	}
	if !report.OK() {
		return errors.Join(errNotClean, s.nodeLog())
	}
	fmt.Fprintln(out, "\nEverything reached everybody once and in order; nothing is left running.")
	return nil
}

// stage is everything that runs during the demo.
type stage struct {
	// Static after construction.
	options
	dir      string
	ledger   *conference.Ledger
	progress io.Writer

	node    *child.Process
	closers []func(context.Context) error // in order of opening
}

// later registers what close does, last first.
func (s *stage) later(f func(context.Context) error) { s.closers = append(s.closers, f) }

// close stops everything, also after an interruption, and tells what did not
// stop as it should.
func (s *stage) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		ctx, cancel := context.WithTimeout(context.Background(), cleanupTime)
		errs = append(errs, s.closers[i](ctx))
		cancel()
	}
	return errors.Join(errs...)
}

func (s *stage) say(format string, args ...any) { fmt.Fprintf(s.progress, format+"\n", args...) }

// perform sets the stage and plays the conference on it.
func (s *stage) perform(ctx context.Context) (*conference.Report, error) {
	program, err := s.program(ctx)
	if err != nil {
		return nil, err
	}
	main, err := s.startMain(ctx)
	if err != nil {
		return nil, err
	}
	password, err := s.startNode(ctx, program, main)
	if err != nil {
		return nil, err
	}
	meeting, err := main.meeting(ctx)
	if err != nil {
		return nil, err
	}
	s.later(meeting.Close)
	focus, err := conference.DialFocus(ctx, conference.FocusOptions{Addr: s.c2s, JID: focusJID, Password: password})
	if err != nil {
		return nil, fmt.Errorf("at the node: %w", err)
	}
	s.later(focus.Close)
	swarm := conference.NewSwarm(conference.SwarmOptions{
		URL:    "ws://" + s.http + "/xmpp-websocket?room=" + roomName + "&vnode=v" + nodeID,
		Domain: nodeDomain, Room: nodeRoom, Ledger: s.ledger,
	})
	s.later(func(context.Context) error { swarm.Close(); return nil })
	meter, err := conference.NewMeter(s.node.PID())
	if err != nil {
		return nil, err
	}
	view := newView(s.progress, s.options)
	defer view.done()
	scenario := conference.Scenario{
		Name: main.name(), Conference: meeting, Focus: focus, Room: nodeRoom, Swarm: swarm, Ledger: s.ledger, Meter: meter,
		Participants: s.participants, Visitors: s.visitors, JoinRate: s.joinRate, Talk: s.talk,
		Updates: 4, Lines: 2, VisitorLines: 2, Changes: 0.3, Cuts: s.cuts,
		Watch: view.show, WatchEvery: view.every(),
	}
	return scenario.Run(ctx), nil
}

func (s *stage) writeJSON(r *conference.Report) error {
	if s.json == "" {
		return nil
	}
	f, err := os.Create(filepath.Clean(s.json))
	if err != nil {
		return err
	}
	return errors.Join(r.WriteJSON(f), f.Close())
}

// nodeLog is the end of the node's log as an error, nil when it said nothing.
func (s *stage) nodeLog() error {
	if s.node == nil {
		return nil
	}
	tail := s.node.LogTail()
	if tail == "" {
		return nil
	}
	return fmt.Errorf("the end of the node's log:\n%s", tail)
}
