package table

import (
	"maps"
	"runtime"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

type entry struct{ name string }

func newTable() *Table[string, entry] {
	return New(func(e *entry) string { return e.name })
}

// names are what a table holds, by its own iterator.
func names(t *Table[string, entry]) []string {
	var all []string
	for e := range t.All() {
		all = append(all, e.name)
	}
	slices.Sort(all)
	return all
}

func TestEmpty(t *testing.T) {
	tab := newTable()
	tab.Delete("nobody")
	require.Nil(t, tab.Get("nobody"))
	require.Zero(t, tab.Len())
	require.Empty(t, names(tab))
}

func TestNewerTakesThePlace(t *testing.T) {
	tab := newTable()
	older, newer := &entry{"a"}, &entry{"a"}
	tab.Put(older)
	tab.Put(newer)
	require.Same(t, newer, tab.Get("a"))
	require.Equal(t, 1, tab.Len())
}

func TestIterationEnds(t *testing.T) {
	tab := newTable()
	tab.Put(&entry{"a"})
	tab.Put(&entry{"b"})
	seen := 0
	for range tab.All() {
		seen++
		break
	}
	require.Equal(t, 1, seen)
}

// A table that was large is small again when those in it have gone.
func TestShrinks(t *testing.T) {
	tab := newTable()
	for i := range 10_000 {
		tab.Put(&entry{strconv.Itoa(i)})
	}
	for i := range 9_999 {
		tab.Delete(strconv.Itoa(i))
	}
	require.LessOrEqual(t, len(tab.slots), leastSlots)
	require.NotNil(t, tab.Get("9999"))
}

// Whatever is put and deleted, in whatever order, a table is what a map is.
func FuzzTable(f *testing.F) {
	f.Add([]byte("abcabc"))
	f.Add([]byte("aAbBcC"))
	f.Add([]byte("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"))
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 129, 131, 133, 135, 10, 137, 130})
	f.Fuzz(func(t *testing.T, steps []byte) {
		tab, model := newTable(), map[string]*entry{}
		for _, b := range steps {
			name := strconv.Itoa(int(b & 0x7F))
			if b&0x80 != 0 {
				tab.Delete(name)
				delete(model, name)
			} else {
				e := &entry{name}
				tab.Put(e)
				model[name] = e
			}
			require.Equal(t, len(model), tab.Len())
		}
		require.ElementsMatch(t, slices.Collect(maps.Keys(model)), names(tab))
		for i := range 128 {
			name := strconv.Itoa(i)
			require.Same(t, model[name], tab.Get(name), "value of %s", name)
		}
	})
}

// BenchmarkEntry reports what an entry costs beside the value, with as many as
// make a table of average load.
func BenchmarkEntry(b *testing.B) {
	const n = 5_000
	entries := make([]*entry, n)
	for i := range entries {
		entries[i] = &entry{strconv.Itoa(i)}
	}
	var tab *Table[string, entry]
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for b.Loop() {
		tab = newTable()
		for _, e := range entries {
			tab.Put(e)
		}
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/n, "B/entry")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/put")
	runtime.KeepAlive(tab)
}
