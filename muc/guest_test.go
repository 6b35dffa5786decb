package muc

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

func TestGuestKnowsItsRooms(t *testing.T) {
	a, b, c := &box{local: "a"}, &box{local: "b"}, &box{local: "c"}
	var g guest
	require.Empty(t, g.boxes())
	g.enter(a, true)
	g.enter(b, false) // a room it has not been to is the latest, whatever is said there first
	require.Same(t, b, g.latest)
	g.enter(a, false)
	require.Same(t, b, g.latest)
	g.enter(a, true)
	require.Same(t, a, g.latest)
	g.enter(c, true)
	require.ElementsMatch(t, []*box{a, b, c}, g.boxes())
	g.leave(c)
	require.Same(t, a, g.latest)
	g.leave(b)
	require.Same(t, a, g.latest)
	require.Equal(t, []*box{a}, g.boxes())
	g.leave(a)
	g.leave(a)
	require.Empty(t, g.boxes())
}

// There are thousands of these: one more field is a size class more.
func TestSizeOfAGuest(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(guest{}), uintptr(48))
}
