package conference

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const everybody = RoleParticipant | RoleVisitor | RoleFocus

// A story of publications and what one receiver gets of them.
type story struct {
	*Ledger
	*Tracker
	p *Source
}

func newStory() *story {
	l := NewLedger()
	return &story{l, NewTracker(l, everybody), l.Add(RoleParticipant, "ann")}
}

func (s *story) joins() { s.Joined(Now()) }

// publish publishes n presences and returns their stamps.
func (s *story) publish(k Kind, n int) []Stamp {
	stamps := make([]Stamp, n)
	for i := range stamps {
		stamps[i] = s.p.Publish(k)
	}
	return stamps
}

func (s *story) gets(stamps ...Stamp) {
	for _, st := range stamps {
		s.Got(st, "ann")
	}
}

func TestNothingIsWrongWhenEverythingComesOnceInOrder(t *testing.T) {
	s := newStory()
	before := s.publish(Presence, 3)
	s.publish(Chat, 2) // said before the join: not due
	s.gets(before[2])  // the room it finds
	s.joins()
	after := []Stamp{s.p.Publish(Chat), s.p.Publish(Presence), s.p.Publish(Chat)}
	require.EqualValues(t, 3, s.Missing())
	s.gets(after...)
	s.p.Leave()
	require.EqualValues(t, 1, s.Missing())
	require.True(t, s.Gone("ann"))
	require.Zero(t, s.Missing())
	require.Equal(t, Tally{Delivered: 5}, s.Tally())
}

func TestFaultsAreCounted(t *testing.T) {
	for name, c := range map[string]struct {
		live func(s *story, p []Stamp)
		want Tally
	}{
		"one is lost":            {func(s *story, p []Stamp) { s.gets(p[0], p[2], p[3]) }, Tally{Delivered: 3, Lost: 1}},
		"the last is lost":       {func(s *story, p []Stamp) { s.gets(p[:3]...) }, Tally{Delivered: 3, Lost: 1}},
		"the first is lost":      {func(s *story, p []Stamp) { s.gets(p[1:]...) }, Tally{Delivered: 3, Lost: 1}},
		"all are lost":           {func(*story, []Stamp) {}, Tally{Lost: 4}},
		"one comes twice":        {func(s *story, p []Stamp) { s.gets(p[0], p[1], p[1], p[2], p[3]) }, Tally{Delivered: 4, Duplicate: 1}},
		"two change places":      {func(s *story, p []Stamp) { s.gets(p[0], p[2], p[1], p[3]) }, Tally{Delivered: 4, OutOfOrder: 1}},
		"the first comes second": {func(s *story, p []Stamp) { s.gets(p[1], p[0], p[2], p[3]) }, Tally{Delivered: 4, OutOfOrder: 1}},
		"twice and swapped": {
			func(s *story, p []Stamp) { s.gets(p[0], p[2], p[1], p[1], p[3]) },
			Tally{Delivered: 4, OutOfOrder: 1, Duplicate: 1},
		},
		"from somebody else": {
			func(s *story, p []Stamp) { s.gets(p[:3]...); s.Got(p[3], "bob") },
			Tally{Delivered: 3, Misaddressed: 1, Lost: 1},
		},
		"from the room itself": {
			func(s *story, p []Stamp) { s.gets(p[:3]...); s.Got(p[3], "") },
			Tally{Delivered: 3, Misaddressed: 1, Lost: 1},
		},
		"never published": {
			func(s *story, p []Stamp) { s.gets(p...); s.gets(Stamp{Source: 0, Kind: Chat, Seq: 99, Order: 99}) },
			Tally{Delivered: 4, Unexpected: 1},
		},
		"of no source": {
			func(s *story, p []Stamp) { s.gets(p...); s.gets(Stamp{Source: 7, Kind: Chat, Seq: 1, Order: 1}) },
			Tally{Delivered: 4, Unexpected: 1},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStory()
			s.joins()
			c.live(s, s.publish(Chat, 4))
			require.Equal(t, c.want, s.Tally())
		})
	}
}

func TestOrderHoldsAcrossPresenceAndChat(t *testing.T) {
	s := newStory()
	s.joins()
	presence, line := s.p.Publish(Presence), s.p.Publish(Chat)
	s.gets(line, presence)
	require.Equal(t, Tally{Delivered: 2, OutOfOrder: 1}, s.Tally())
}

func TestTheRoomAJoinFindsIsDue(t *testing.T) {
	s := newStory()
	s.publish(Presence, 3)
	s.joins()
	require.EqualValues(t, 1, s.Missing(), "the newest presence only")
}

func TestWhoHasLeftBeforeTheJoinIsNotDue(t *testing.T) {
	s := newStory()
	p := s.publish(Presence, 2)
	s.p.Leave()
	s.joins()
	require.Zero(t, s.Missing())
	s.gets(p[1]) // the leave was still under way: seen, so its end is due
	require.EqualValues(t, 1, s.Missing())
	s.Gone("ann")
	require.Zero(t, s.Missing())
}

func TestGhostsAndSecondLeaves(t *testing.T) {
	s := newStory()
	s.joins()
	p := s.publish(Presence, 2)
	s.gets(p[0])
	s.p.Leave()
	require.True(t, s.Gone("ann"))
	require.True(t, s.Gone("ann"))
	s.gets(p[1])
	require.Equal(t, Tally{Delivered: 3, Duplicate: 1, OutOfOrder: 1}, s.Tally())
	require.False(t, s.Gone("nobody"))
}

func TestAReceiverThatLeavesOnlyLosesHoles(t *testing.T) {
	s := newStory()
	s.joins()
	p := s.publish(Chat, 4)
	s.gets(p[0], p[2])
	s.Left()
	require.Equal(t, Tally{Delivered: 2, Lost: 1}, s.Tally())
}

func TestNothingIsDueBeforeTheJoinNorAfterTheLedgerIsClosed(t *testing.T) {
	s := newStory()
	s.publish(Presence, 1)
	require.Zero(t, s.Missing())
	s.gets(s.publish(Presence, 1)...)
	s.joins()
	s.Close()
	s.publish(Presence, 1)
	s.p.Leave()
	require.Zero(t, s.Missing())
	presences, chats := s.Published(everybody)
	require.EqualValues(t, 2, presences)
	require.Zero(t, chats)
}

func TestMainHearsVisitorsOnlyAndFromTheBareRoom(t *testing.T) {
	l := NewLedger()
	main := NewTracker(l, RoleVisitor)
	main.relayed = true
	main.Joined(Now())
	visitor, participant := l.Add(RoleVisitor, "vic"), l.Add(RoleParticipant, "ann")
	main.Got(visitor.Publish(Chat), "")
	main.Got(participant.Publish(Presence), "ann")
	require.Equal(t, Tally{Delivered: 1}, main.Tally())
}

func TestAgeCountsOnlyForWhatIsNew(t *testing.T) {
	s := newStory()
	old := s.publish(Presence, 1)
	s.joins()
	fresh := s.publish(Presence, 1)
	require.False(t, s.Got(old[0], "ann"))
	require.True(t, s.Got(fresh[0], "ann"))
	require.False(t, s.Got(fresh[0], "ann"))
}
