package acks

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

type stanza string

func (s stanza) Size() int { return len(s) }

// The counter of stream management wraps around.
func TestCountWrapsAround(t *testing.T) {
	a := State[stanza]{total: 1<<32 + 5, base: 7}
	a.Manage()
	require.Equal(t, a.total, a.base)
	a.base = 6 // so that 2^32-1 were counted
	for range 4 {
		a.Sending("x")
	}
	require.False(t, a.Count(4))
	require.True(t, a.Count(0))
	require.Len(t, a.unacked, 3)
	require.False(t, a.Count(1<<32-1), "less than before")
	require.True(t, a.Count(3))
	require.Zero(t, a.bytes)
}

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// A ping is answered for what went before it, and the next one waits.
func TestPings(t *testing.T) {
	var a State[stanza]
	a.Sending("nobody will know of this one")
	require.Empty(t, a.Unacked())
	a.Ping(true)
	a.Sending("one")
	require.True(t, a.WantsAnswer(start))
	a.Ask(start, "p1", 0)
	require.False(t, a.WantsAnswer(start.Add(time.Hour)), "one at a time")
	require.False(t, a.Prompt())
	a.Sending("two")
	require.False(t, a.Pong("p0"))
	require.True(t, a.Pong("p1"))
	took, ok := a.Answered(start.Add(time.Second))
	require.True(t, ok)
	require.Equal(t, time.Second, took)
	require.Equal(t, []stanza{"two"}, a.Unacked())
	require.Equal(t, MaxBytes-3, a.Room(7))
	require.False(t, a.Pong("p1"), "it was answered")
	require.False(t, a.WantsAnswer(start.Add(PingEvery-1)))
	require.True(t, a.WantsAnswer(start.Add(PingEvery)))
	at, ok := a.NextPing()
	require.True(t, ok)
	require.Equal(t, start.Add(PingEvery), at)
	a.Unsent(1)
	require.Empty(t, a.Lost())
}

// A peer that may never answer is sent all the same; only so much is kept, and
// nothing of it is said to be lost.
func TestPeerThatNeverAnswers(t *testing.T) {
	var a State[stanza]
	a.Ping(false)
	for range MaxStanzas + 10 {
		a.Sending("x")
	}
	require.Len(t, a.Unacked(), MaxStanzas)
	require.Equal(t, 7, a.Room(7))
	require.Nil(t, a.Lost())
	a.Ping(true)
	require.Zero(t, a.Room(7), "one that does is waited for")
	require.Len(t, a.Lost(), MaxStanzas)
	a.GiveUp()
	require.Equal(t, None, a.Method())
	require.Nil(t, a.Lost())
}

// Who says something else, or is busy, is not gone.
func TestOverdue(t *testing.T) {
	var a State[stanza]
	a.Ping(true)
	a.Ask(start, "p", 2)
	until, late := a.Overdue(start.Add(time.Second), 2, time.Minute)
	require.False(t, late)
	require.Equal(t, start.Add(time.Minute), until)
	_, late = a.Overdue(start.Add(time.Minute), 2, time.Minute)
	require.True(t, late)
	_, late = a.Overdue(start.Add(time.Minute), 4, time.Minute)
	require.False(t, late, "it was heard")
	_, late = a.Overdue(start.Add(time.Hour), 5, time.Minute)
	require.False(t, late, "it waits for us")
}
