package memory

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMemoryIsGivenBackInACalmMoment(t *testing.T) {
	const mb = 1 << 20
	for name, c := range map[string]struct {
		now    usage
		allocs uint64 // in the latest interval
		fallow bool
	}{
		"nothing to gain":             {usage{live: 40 * mb, dead: mb, free: mb}, 0, false},
		"a storm has gone":            {usage{live: 16 * mb, dead: 20 * mb}, mb, true},
		"a storm is under way":        {usage{live: 16 * mb, dead: 20 * mb}, 10 * mb, false},
		"found dead and kept":         {usage{live: 16 * mb, free: 3 * mb}, 0, true},
		"little in use, little gain":  {usage{live: mb, dead: mb}, 0, false},
		"much in use, a little share": {usage{live: 400 * mb, dead: 40 * mb}, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			before := usage{allocs: 7 * mb}
			c.now.allocs = before.allocs + c.allocs
			require.Equal(t, c.fallow, c.now.fallow(before))
		})
	}
}

func TestUsageIsRead(t *testing.T) {
	runtime.GC()
	m := read()
	require.Positive(t, m.live)
	require.Positive(t, m.allocs)
}
