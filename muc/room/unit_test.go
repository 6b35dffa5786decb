package room

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestQueueForgetsWhoWent(t *testing.T) {
	q := queue{index: make(map[Session]*waiting)}
	stay := new(simSession)
	q.put(stay, Who{}, "stay", nil)
	for range 1000 {
		s := new(simSession)
		q.put(s, Who{}, "x", nil)
		require.NotNil(t, q.drop(s))
		require.Nil(t, q.drop(s))
	}
	require.Less(t, len(q.order), 50)
	all := q.take()
	require.Len(t, all, 1)
	require.Equal(t, "stay", all[0].nick)
	require.Zero(t, q.joins())
}

// The identifier is the same for a user's sessions, and another in another
// room.
func TestOccupantIDIsStableAndOpaque(t *testing.T) {
	s := newSim(t, testConfig())
	user := s.session("vis1").jid
	salted := newOccupantIDs([]byte("salt"))
	peppered := newOccupantIDs([]byte("pepper"))
	id := string(salted.append(nil, user.Bare()))
	require.NotEqual(t, id, string(salted.append(nil, s.session("vis2").jid.Bare())))
	require.Equal(t, id, string(salted.append(nil, user.WithResource("other").Bare())))
	require.NotEqual(t, id, string(peppered.append(nil, user.Bare())))
	require.NotContains(t, id, user.Local[:8])
}
