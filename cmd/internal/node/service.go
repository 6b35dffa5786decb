package node

import (
	"context"
	"fmt"
	"time"

	"vnode/cmd/internal/admin"
	"vnode/cmd/internal/systemd"
)

// statusEvery is how often the service manager is told what the node does.
const statusEvery = 10 * time.Second

// tellManager keeps the service manager posted until ctx ends, and its
// watchdog quiet as long as all parts of the node answer.
func (n *Node) tellManager(ctx context.Context) {
	if !systemd.Active() {
		return
	}
	go func() {
		ticker := time.NewTicker(statusEvery)
		defer ticker.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
				systemd.Status(n.status(ctx))
			}
		}
	}()
	systemd.Watchdog(ctx, operator{n}.Alive, func(err error) {
		n.log.Error("a part of the node does not answer; systemd will start it anew", "error", err)
	})
}

// status is the node in a line.
func (n *Node) status(ctx context.Context) string {
	state, why := n.health.Get()
	if state != admin.Ready {
		return fmt.Sprintf("%s: %s", state, why)
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	rooms, err := n.rooms.Rooms(ctx)
	if err != nil {
		return err.Error()
	}
	visitors := 0
	for _, r := range rooms {
		visitors += r.Visitors
	}
	text := fmt.Sprintf("%s: %d rooms, %d visitors", state, len(rooms), visitors)
	if !n.rooms.FocusIn() {
		text += "; jicofo is not logged in"
	}
	for _, l := range (operator{n}).Links() {
		if !l.Up {
			text += "; no stream to " + l.To
		}
	}
	return text
}
