package fanout

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
)

// There are thousands of these: one more field is a size class more.
func TestSizes(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(Session{}), uintptr(192))
	require.LessOrEqual(t, unsafe.Sizeof(Link{}), uintptr(96))
}
