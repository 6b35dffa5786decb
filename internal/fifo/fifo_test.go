package fifo

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A queue hands out what came, in order, and keeps no more memory than what waits.
func TestQueue(t *testing.T) {
	var q Queue[int]
	next := 0
	for i := range 10_000 {
		q.Push(i)
		if i%3 != 0 {
			require.Equal(t, next, q.Pop())
			next++
		}
		require.Equal(t, i+1-next, q.Len())
		require.LessOrEqual(t, len(q.items), 2*q.Len()+66)
	}
	require.Equal(t, next, q.Waiting()[0])
	for q.Len() > 0 {
		require.Equal(t, next, q.Pop())
		next++
	}
	require.Equal(t, 10_000, next)
	require.Nil(t, q.items)
}
