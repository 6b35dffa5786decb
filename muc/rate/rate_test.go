package rate

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var start = time.Unix(1000, 0)

func TestBucketGivesItsBurstAndThenItsRate(t *testing.T) {
	var b Bucket
	l := Limit{PerSecond: 2, Burst: 3}
	for range 3 {
		require.True(t, b.Take(l, start))
	}
	require.False(t, b.Take(l, start))
	require.Equal(t, time.Second/2, b.Wait(l, start))
	require.False(t, b.Take(l, start.Add(time.Second/4)))
	require.True(t, b.Take(l, start.Add(time.Second/2)))
	require.False(t, b.Take(l, start.Add(time.Second/2)))
	for range 3 { // an idle hour fills no more than the burst
		require.True(t, b.Take(l, start.Add(time.Hour)))
	}
	require.False(t, b.Take(l, start.Add(time.Hour)))
}

func TestNoLimit(t *testing.T) {
	var b Bucket
	for range 1000 {
		require.True(t, b.Take(Limit{}, start))
	}
	require.Zero(t, b.Wait(Limit{}, start))
}

func TestLimitChangesUnderTheBucket(t *testing.T) {
	var b Bucket
	for range 100 {
		b.Take(Limit{PerSecond: 1, Burst: 100}, start)
	}
	small := Limit{PerSecond: 10}
	require.False(t, b.Take(small, start))
	require.Equal(t, time.Second/10, b.Wait(small, start), "the debt of a larger burst is forgiven")
	require.True(t, b.Take(small, start.Add(time.Second/10)))
	require.True(t, b.Take(Limit{}, start.Add(time.Second/10)), "and with no limit there is always one")
}

// Who waits as long as he was told gets his token, at whatever rate.
func TestWaitIsEnough(t *testing.T) {
	for _, l := range []Limit{{PerSecond: 3}, {PerSecond: 0.7, Burst: 2}, {PerSecond: 1000.0 / 7, Burst: 5}} {
		var b Bucket
		now := start
		for range 1000 {
			now = now.Add(b.Wait(l, now))
			require.True(t, b.Take(l, now), l)
		}
	}
}

// A clock that is set back takes no token away for ever.
func TestClockThatGoesBack(t *testing.T) {
	var b Bucket
	l := Limit{PerSecond: 1}
	require.True(t, b.Take(l, start))
	require.False(t, b.Take(l, start.Add(-time.Hour)))
	require.True(t, b.Take(l, start.Add(time.Second)))
}

// What is spent beyond the burst is a debt that is paid off at the rate, so that who
// says much at once is not better off than who says little often.
func TestSpendingMakesDebts(t *testing.T) {
	var b Bucket
	l := Limit{PerSecond: 10, Burst: 20}
	require.Zero(t, b.Spend(l, 19, start))
	require.Equal(t, time.Second*11/10, b.Spend(l, 11, start), "ten too many, and one for the next")
	require.Equal(t, time.Second/10, b.Spend(l, 0, start.Add(time.Second)))
	require.Zero(t, b.Spend(l, 0, start.Add(time.Second*11/10)))
	require.Equal(t, 2*time.Second+time.Second/10, b.Spend(l, 1000, start.Add(time.Hour)), "a burst at most")
	require.Zero(t, b.Spend(Limit{}, 1000, start))
}
