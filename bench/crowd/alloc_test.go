//go:build linux && !race

package crowd

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReceivingAllocatesNothing(t *testing.T) {
	const runs, lines = 100, 2
	a := newAudience(3)
	for _, n := range []int{1000, heardLines} { // room for what is remembered, numbers of four digits in all of it
		for range n {
			warm := a.batch(1)
			a.receive(&warm)
		}
	}
	var batches []batch
	for range runs + 1 {
		batches = append(batches, a.batch(lines))
	}
	a.loop.tally.reset()
	i := 0
	got := testing.AllocsPerRun(runs, func() {
		a.receive(&batches[i])
		i++
	})
	require.Zero(t, got)
	require.EqualValues(t, (runs+1)*lines*len(a.visitors), a.loop.tally.delivered)
	for _, v := range a.visitors {
		require.Nil(t, v.err)
	}
}

// What receiving a stanza costs beside the system calls: for the visitor that
// gets it first, and for many, in batches as they are at the ceiling.
func BenchmarkReceive(b *testing.B) {
	for name, visitors := range map[string]int{"first": 1, "many": 100} {
		b.Run(name, func(b *testing.B) {
			const lines, batches = 16, 128
			a := newAudience(visitors)
			var all []batch
			for range batches {
				all = append(all, a.batch(lines))
			}
			b.SetBytes(int64(len(all[0].frames) / lines))
			b.ReportAllocs()
			for i := 0; i < b.N; {
				for _, v := range a.visitors {
					v.seen = seen{} // the same lines are new again
				}
				for j := range all {
					a.receive(&all[j])
					i += lines * visitors
				}
			}
			require.Zero(b, a.loop.tally.twice)
		})
	}
}
