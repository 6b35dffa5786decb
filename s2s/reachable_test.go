package s2s

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Main was away for long, and every pair waits for its next try. Main comes
// back and dials the node: all pairs dial at once, before a conference needs
// them.
func TestMainComesBackForAllPairs(t *testing.T) {
	within(t, func(t *testing.T) {
		d := newDialled(t)
		var up atomic.Bool
		var tries atomic.Int64
		w := newWorld(t, nil, func(ctx context.Context) (net.Conn, error) {
			tries.Add(1)
			if !up.Load() {
				return nil, errors.New("connection refused")
			}
			return d.dial(ctx)
		})
		w.Keep(rooms, mainRooms)
		time.Sleep(9*time.Minute + 7*time.Second)
		synctest.Wait()
		tries.Store(0)
		up.Store(true)

		w.connect(fromMain, mainCert).authenticated(mainHost, rooms, "")
		began := time.Now()
		d.next().accepted(rooms, mainRooms)
		require.LessOrEqual(t, time.Since(began), soon)
		synctest.Wait()
		require.True(t, w.Up(rooms, mainRooms))
		require.EqualValues(t, 1, tries.Load())
	})
}

// A pair is told once in a while only, however often another one finds main.
func TestHopeIsRationed(t *testing.T) {
	within(t, func(t *testing.T) {
		var tries atomic.Int64
		w := newWorld(t, nil, func(context.Context) (net.Conn, error) {
			tries.Add(1)
			return nil, errors.New("connection refused")
		})
		w.Keep(rooms, mainRooms)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		tries.Store(0)
		for range 20 {
			in := w.connect(fromMain, mainCert)
			in.authenticated(mainHost, rooms, "")
			in.conn.Close()
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		// One for the news, the first pauses of a new doubling behind it.
		require.GreaterOrEqual(t, tries.Load(), int64(1))
		require.LessOrEqual(t, tries.Load(), int64(4))
	})
}
