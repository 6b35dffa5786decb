package visitorlist

import (
	"cmp"
	"encoding/json"
	"slices"
	"sync"
)

// change is one as clients read it: "j" for who is here, "l" for who left.
type change struct {
	Name  string `json:"n"`
	ID    string `json:"r"`
	State string `json:"s,omitempty"`
}

const (
	joined = "j"
	left   = "l"
)

// maxPending bounds the changes that wait for one client: half a minute of a
// thousand each second.
const maxPending = 30000

// feed is what one subscription knows and has to tell of a room. It is the
// Watcher of the room.
type feed struct {
	mu sync.Mutex
	// Guarded by mu.
	names   map[string]string // of who is here, by id
	pending []change
	ended   bool
	lost    bool // there were too many changes
}

func newFeed() *feed { return &feed{names: make(map[string]string)} }

// Here implements Watcher.
func (f *feed) Here(v Visitor) { f.add(change{v.Name, v.ID, joined}) }

// Gone implements Watcher.
func (f *feed) Gone(id string) { f.add(change{"", id, left}) }

// Ended implements Watcher.
func (f *feed) Ended() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
}

func (f *feed) add(c change) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.note(c)
}

// note is add with mu held.
func (f *feed) note(c change) {
	if f.lost = f.lost || len(f.pending) >= maxPending; !f.lost {
		f.pending = append(f.pending, c)
	}
}

// start puts those in who were here when the room began to tell. They go before
// what it has told since.
func (f *feed) start(list []Visitor) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, v := range list {
		f.names[v.ID] = v.Name
	}
}

// take returns what is to be told, and whether the room has ended; then
// everybody has left. ok is false when something was lost.
func (f *feed) take() (changes []change, ended, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	changes = f.apply()
	if f.ended {
		for _, id := range f.ids() {
			changes = append(changes, change{"", id, left})
		}
		clear(f.names)
	}
	return changes, f.ended, !f.lost
}

// list returns who is here. What was not told yet is in it.
func (f *feed) list() []change {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.apply()
	list := make([]change, 0, len(f.names))
	for _, id := range f.ids() {
		list = append(list, change{Name: f.names[id], ID: id})
	}
	return list
}

// apply makes names what the pending changes say, with mu held.
func (f *feed) apply() []change {
	changes := f.pending
	f.pending = nil
	for _, c := range changes {
		if c.State == left {
			delete(f.names, c.ID)
		} else {
			f.names[c.ID] = c.Name
		}
	}
	return changes
}

// ids returns those of names in an order clients can rely on, with mu held: by
// name.
func (f *feed) ids() []string {
	ids := make([]string, 0, len(f.names))
	for id := range f.names {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b string) int {
		return cmp.Or(cmp.Compare(f.names[a], f.names[b]), cmp.Compare(a, b))
	})
	return ids
}

func encode(changes []change) []byte {
	b, err := json.Marshal(changes)
	if err != nil {
		panic("visitorlist: " + err.Error()) // texts can be encoded
	}
	return b
}
