package node

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
	"vnode/muc"
)

// shelf is rooms that are recorded.
type shelf struct {
	mu       sync.Mutex
	rooms    []muc.RoomRecord
	changed  chan struct{}
	recalled []muc.RoomRecord
}

func (s *shelf) Records() []muc.RoomRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rooms
}

func (s *shelf) RecordsChanged() <-chan struct{} { return s.changed }

func (s *shelf) Recall(records []muc.RoomRecord) int {
	s.recalled = records
	return len(records)
}

func (s *shelf) set(rooms ...muc.RoomRecord) {
	s.mu.Lock()
	s.rooms = rooms
	s.mu.Unlock()
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// The record follows the rooms, and a record of another process is taken over.
func TestRecordFollowsTheRooms(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rooms")
	one, two := muc.RoomRecord{Local: "one", Focus: "focus@auth.meet.jitsi", Nick: "focus"}, muc.RoomRecord{Local: "two", Focus: "focus@auth.meet.jitsi", Nick: "focus"}
	inFile := func() []muc.RoomRecord {
		next := &shelf{}
		r := &record{path: path, rooms: next, log: slog.New(slog.DiscardHandler)}
		require.NoError(t, r.recall())
		return next.recalled
	}
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{changed: make(chan struct{}, 1)}
		r := &record{path: path, rooms: s, log: slog.New(slog.DiscardHandler)}
		require.NoError(t, r.recall(), "there is none at first")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); r.run(ctx) }()
		s.set(one)
		synctest.Wait()
		require.Equal(t, []muc.RoomRecord{one}, inFile(), "the first change is written at once")
		s.set(one, two)
		synctest.Wait()
		require.Equal(t, []muc.RoomRecord{one}, inFile())
		time.Sleep(recordEvery)
		synctest.Wait()
		require.Equal(t, []muc.RoomRecord{one, two}, inFile())
		s.set(two)
		cancel()
		<-done
		require.Equal(t, []muc.RoomRecord{two}, inFile(), "the end is written")
	})
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
}

// A record that was torn, at whatever byte, or changed, is none, and says so.
func TestTornRecordIsNone(t *testing.T) {
	whole := formatRecord([]muc.RoomRecord{{Local: "one", Focus: "focus@auth.meet.jitsi", Nick: "focus"}, {Local: "two", Focus: "focus@auth.meet.jitsi", Nick: "focus"}})
	rooms, err := parseRecord(whole)
	require.NoError(t, err)
	require.Len(t, rooms, 2)
	for n := range whole {
		_, err := parseRecord(whole[:n])
		require.Error(t, err, "cut to %d bytes", n)
		changed := append([]byte(nil), whole...)
		changed[n] ^= 1
		_, err = parseRecord(changed)
		require.Error(t, err, "byte %d changed", n)
	}
	path := filepath.Join(t.TempDir(), "rooms")
	require.NoError(t, os.WriteFile(path, whole[:40], 0o600))
	s := &shelf{}
	require.ErrorContains(t, (&record{path: path, rooms: s, log: slog.New(slog.DiscardHandler)}).recall(), "torn")
	require.Empty(t, s.recalled)
}

func FuzzParseRecord(f *testing.F) {
	f.Add(formatRecord([]muc.RoomRecord{{Local: "one", Focus: "focus@auth.meet.jitsi", Nick: "focus"}}))
	f.Add([]byte("vnode-rooms-1 \n{"))
	f.Fuzz(func(t *testing.T, b []byte) {
		rooms, err := parseRecord(b)
		if err == nil {
			again, err := parseRecord(formatRecord(rooms))
			require.NoError(t, err)
			require.Len(t, again, len(rooms))
		}
	})
}

// A node that is killed loses its rooms; jicofo, which would send visitors there
// for ever, is told so by the next process when it logs in, and when it tells a
// room it believes in of its presence.
func TestKilledNodeTellsTheFocusOfItsRooms(t *testing.T) {
	cfg := testConfig(t, "127.0.0.1:1")
	node := start(t, cfg)
	first := node.loginAsFocus()
	first.write("<presence to='" + demoRoom + "/focus'><x xmlns='" + wire.NSMUC + "'/></presence>")
	require.Contains(t, first.expect("presence"), "code='201'")
	path := filepath.Join(cfg.StateDir, "rooms")
	var left []byte
	require.Eventually(t, func() bool {
		left, _ = os.ReadFile(path)
		rooms, err := parseRecord(left)
		return err == nil && len(rooms) == 1
	}, 10*time.Second, time.Millisecond)
	node.stop()
	ended, err := os.ReadFile(path)
	require.NoError(t, err)
	rooms, err := parseRecord(ended)
	require.NoError(t, err)
	require.Empty(t, rooms, "a node that ends in order leaves nothing behind")

	require.NoError(t, os.WriteFile(path, left, 0o600)) // as the kill would have
	again := start(t, cfg).loginAsFocus()
	told := again.expect("presence")
	require.Contains(t, told, "from='"+demoRoom+"/focus'")
	require.Contains(t, told, "<destroy><reason>Conference ended.</reason></destroy>")
	again.write("<presence to='" + demoRoom + "/focus'><conference-properties xmlns='http://jitsi.org/protocol/focus'/></presence>")
	require.Contains(t, again.expect("presence"), "<destroy>")
}
