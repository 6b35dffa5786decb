//go:build !race

package wire

import "testing"

// The race detector makes sync.Pool forget at random, hence the build tag:
// make test runs these a second time without it.

func TestCheckDoesNotAllocate(t *testing.T) {
	p := []byte(presence)
	allocs := testing.AllocsPerRun(1000, func() {
		if err := Check(p, Limits{}); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 0 {
		t.Fatalf("%v allocations", allocs)
	}
}
