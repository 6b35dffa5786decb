// Package table finds values by a key that they hold themselves.
package table

import (
	"hash/maphash"
	"iter"
)

// Table is a set of pointers, each found by the key of what it points to. A map
// keeps every key a second time: for ten thousand addresses of three strings
// each it takes 105 bytes an entry, a Table 11 to 22. It is not safe for
// concurrent use.
type Table[K comparable, V any] struct {
	// Static after construction.
	key  func(*V) K
	seed maphash.Seed

	// Open addressing: a value is in the first free slot from that of its hash
	// on. The number of slots is a power of two, or zero.
	slots []*V
	n     int
}

// leastSlots is the size of a table that is not empty.
const leastSlots = 8

// New returns an empty table of values whose key is told by key. It must stay
// the same while a value is in the table.
func New[K comparable, V any](key func(*V) K) *Table[K, V] {
	return &Table[K, V]{key: key, seed: maphash.MakeSeed()}
}

// Len is the number of values.
func (t *Table[K, V]) Len() int { return t.n }

// Get returns the value with that key, nil if there is none.
func (t *Table[K, V]) Get(k K) *V {
	if t.n == 0 {
		return nil
	}
	return t.slots[t.find(k)]
}

// Put adds v, in place of one with the same key.
func (t *Table[K, V]) Put(v *V) {
	if 4*(t.n+1) > 3*len(t.slots) { // a quarter stays free: searches end soon
		t.resize(max(leastSlots, 2*len(t.slots)))
	}
	i := t.find(t.key(v))
	if t.slots[i] == nil {
		t.n++
	}
	t.slots[i] = v
}

// Delete removes the value with that key, if there is one. It must not be
// called while [Table.All] runs.
func (t *Table[K, V]) Delete(k K) {
	if t.n == 0 {
		return
	}
	hole := t.find(k)
	if t.slots[hole] == nil {
		return
	}
	t.slots[hole] = nil
	t.n--
	t.close(hole)
	if len(t.slots) > leastSlots && 8*t.n < len(t.slots) {
		t.resize(len(t.slots) / 2)
	}
}

// All yields the values, in no order. The table must not change meanwhile.
func (t *Table[K, V]) All() iter.Seq[*V] {
	return func(yield func(*V) bool) {
		for _, v := range t.slots {
			if v != nil && !yield(v) {
				return
			}
		}
	}
}

// home is where a value with that key belongs.
func (t *Table[K, V]) home(k K) int {
	return int(maphash.Comparable(t.seed, k) & uint64(len(t.slots)-1))
}

func (t *Table[K, V]) after(i int) int { return (i + 1) & (len(t.slots) - 1) }

// find returns the slot of the value with that key, or the free one where it
// would be.
func (t *Table[K, V]) find(k K) int {
	i := t.home(k)
	for t.slots[i] != nil && t.key(t.slots[i]) != k {
		i = t.after(i)
	}
	return i
}

// close moves values back into a hole that searches would end at before they
// come to them.
func (t *Table[K, V]) close(hole int) {
	mask := len(t.slots) - 1
	for i := t.after(hole); t.slots[i] != nil; i = t.after(i) {
		// How far it is from where it belongs, and from the hole.
		if away := (i - t.home(t.key(t.slots[i]))) & mask; away >= (i-hole)&mask {
			t.slots[hole], t.slots[i] = t.slots[i], nil
			hole = i
		}
	}
}

func (t *Table[K, V]) resize(slots int) {
	old := t.slots
	t.slots = make([]*V, slots)
	for _, v := range old {
		if v != nil {
			t.slots[t.find(t.key(v))] = v
		}
	}
}
