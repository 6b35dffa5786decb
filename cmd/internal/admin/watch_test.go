package admin

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"vnode/internal/guard"
)

// fatalOnce meets a panic when it is looked at first.
type fatalOnce struct {
	*fakeNode
	looks atomic.Int32
}

func (n *fatalOnce) Links() []Link {
	if n.looks.Add(1) == 1 {
		panic("a fault of the program")
	}
	return n.fakeNode.Links()
}

// A panic while the node is looked at ends neither the process nor the looking.
func TestPanicWhileTheNodeIsLookedAt(t *testing.T) {
	node := &fatalOnce{fakeNode: &fakeNode{links: []Link{{Name: "main", Up: true}}}}
	log := slog.New(slog.DiscardHandler)
	s := New(Options{
		Registry: prometheus.NewRegistry(), Health: new(Health), Source: node, Control: node, Log: log,
		Guard: guard.New(log, prometheus.NewRegistry(), func(int) { t.Error("the process ends") }),
	})
	t.Cleanup(s.Close)
	require.Eventually(t, s.reached.Load, 10*time.Second, time.Millisecond)
}
