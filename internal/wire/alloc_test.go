//go:build !race

package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

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

// The usual stanza is returned as it is, and costs nothing more.
func TestAcceptCopiesNothingWithoutNeed(t *testing.T) {
	b := []byte(`<message xmlns='jabber:client' to='a@b'><body>https://a:b@c/?d:e</body></message>`)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if got, _, _ := Accept(b, Limits{}); &got[0] != &b[0] {
			t.Fatal("a copy")
		}
	}))
}
