package node

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"

	"vnode/cmd/internal/state"
	"vnode/muc"
)

// record keeps the names of the rooms in the state directory, so that the next
// process can tell jicofo which rooms a crash has ended. It is written behind the
// rooms' back: no join waits for a disk.
type record struct {
	// Static after construction.
	path  string
	rooms recorded
	log   *slog.Logger
}

// recorded are the rooms, as a record sees them.
type recorded interface {
	Records() []muc.RoomRecord
	RecordsChanged() <-chan struct{}
	Recall(records []muc.RoomRecord) (taken int)
}

const (
	// recordEvery is the least time between two writes; the first change after a
	// quiet time is written at once.
	recordEvery = 200 * time.Millisecond
	// recordBytes bounds a record that is read: names are of 3 KB at most.
	recordBytes = 64 << 20
	// recordVersion begins the file.
	recordVersion = "vnode-rooms-1"
)

// recall tells the rooms of the record that the process before has left. A record
// that is damaged counts as none; the error says so.
func (r *record) recall() error {
	b, err := readBounded(r.path, recordBytes)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("record of rooms: %w", err)
	}
	rooms, err := parseRecord(b)
	if err != nil {
		return fmt.Errorf("record of rooms %s: %w; jicofo is told of no lost rooms", r.path, err)
	}
	if n := r.rooms.Recall(rooms); n > 0 {
		r.log.Warn("the process before has left rooms behind; jicofo is told that they are gone when it logs in", "rooms", n)
	}
	return nil
}

// run writes the record whenever the rooms change, until ctx ends, and once more
// then.
func (r *record) run(ctx context.Context) {
	var written []byte
	write := func() {
		b := formatRecord(r.rooms.Records())
		if bytes.Equal(b, written) {
			return
		}
		if err := state.Write(r.path, b); err != nil {
			r.log.Error("the record of rooms cannot be written: after a crash jicofo would send visitors to rooms that are gone", "file", r.path, "error", err)
			return
		}
		written = b
	}
	defer write()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.rooms.RecordsChanged():
		}
		write()
		select {
		case <-ctx.Done():
			return
		case <-time.After(recordEvery):
		}
	}
}

// formatRecord writes a line with the digest of the rest, then a room a line.
func formatRecord(rooms []muc.RoomRecord) []byte {
	var body bytes.Buffer
	e := json.NewEncoder(&body)
	for _, room := range rooms {
		_ = e.Encode(room) // strings and a time: it does not fail
	}
	return append(fmt.Appendf(nil, "%s %x\n", recordVersion, sha256.Sum256(body.Bytes())), body.Bytes()...)
}

// parseRecord reads a record that is whole.
func parseRecord(b []byte) ([]muc.RoomRecord, error) {
	head, body, _ := bytes.Cut(b, []byte("\n"))
	if want := fmt.Sprintf("%s %x", recordVersion, sha256.Sum256(body)); string(head) != want {
		return nil, errors.New("it is torn or not a record: its digest does not fit")
	}
	var rooms []muc.RoomRecord
	for d := json.NewDecoder(bytes.NewReader(body)); d.More(); {
		var room muc.RoomRecord
		if err := d.Decode(&room); err != nil {
			return nil, err
		}
		if len(rooms) == muc.MaxRecords {
			break
		}
		rooms = append(rooms, room)
	}
	return rooms, nil
}

// readBounded reads a file of a sensible size.
func readBounded(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > most {
		return nil, fmt.Errorf("%s has %d bytes, more than any record", path, info.Size())
	}
	return os.ReadFile(path)
}
