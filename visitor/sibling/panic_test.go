package sibling

import (
	"io"
	"log/slog"
	"net"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"vnode/internal/guard"
)

// fatal is a connection that meets a panic when it is read.
type fatal struct{ net.Conn }

func (fatal) Read([]byte) (int, error) { panic("a fault of the program") }

// A panic while a client is passed on closes both connections, and no more.
func TestPanicOfAPassage(t *testing.T) {
	g := guard.New(slog.New(slog.NewTextHandler(io.Discard, nil)), prometheus.NewRegistry(), nil)
	browser, ours := net.Pipe()
	toNode, node := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		join(g, ours, fatal{toNode}, nil, nil)
	}()
	for _, conn := range []net.Conn{browser, node} {
		_, err := io.Copy(io.Discard, conn)
		require.NoError(t, err)
	}
	<-done
}
