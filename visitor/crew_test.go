package visitor

import (
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

type taskFunc func()

func (f taskFunc) work() { f() }

// A task that blocks holds up no other, however many there are.
func TestBlockedTasksHoldUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrew(nil)
		block := make(chan struct{})
		var mu sync.Mutex
		done := 0
		for i := range 100 {
			c.do(taskFunc(func() {
				if i%2 == 0 {
					<-block
				}
				mu.Lock()
				done++
				mu.Unlock()
			}))
		}
		synctest.Wait()
		require.Equal(t, 50, done)
		close(block)
		synctest.Wait()
		require.Equal(t, 100, done)
		require.Equal(t, maxResting, c.resting)
		require.Zero(t, len(c.queue))
		c.do(taskFunc(func() { done++ }))
		synctest.Wait()
		require.Equal(t, 101, done)
		require.Equal(t, maxResting, c.resting)

		c.close()
		synctest.Wait()
		require.Zero(t, c.resting)
		c.do(taskFunc(func() { done++ })) // who comes late is served all the same
		synctest.Wait()
		require.Equal(t, 102, done)
		require.Zero(t, c.resting)
	})
}
