package muc

import (
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"vnode/muc/room"
)

// notes is a Watcher that writes down what it is told.
type notes struct {
	mu   sync.Mutex
	told []string // guarded by mu
}

func (n *notes) note(format string, args ...any) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.told = append(n.told, fmt.Sprintf(format, args...))
}

func (n *notes) Here(v room.VisitorName) { n.note("%s is %q", v.ID, v.Name) }
func (n *notes) Gone(id string)          { n.note("%s is gone", id) }
func (n *notes) Ended()                  { n.note("the end") }

func (n *notes) take() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	got := n.told
	n.told = nil
	return got
}

func TestVisitorsAreWatched(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		named := func(name, nick, said string) {
			p.send(name, p.expand("<presence to='{pub}/"+nick+"'><x xmlns='{muc}'/><nick xmlns='{nick}'>"+said+"</nick></presence>"))
		}
		p.setup([]string{"main1"})
		named("vis1", "one", "Ann")
		w, late := new(notes), new(notes)
		address, ok := p.svc.RoomOfMeeting("meeting")
		require.True(t, ok)
		list, err := p.svc.Watch(t.Context(), address, w)
		require.NoError(t, err)
		require.Equal(t, []room.VisitorName{{ID: "one", Name: "Ann"}}, list)

		named("vis2", "two", "Ben")
		p.joinAs("vis3", "three")
		p.send("vis2", p.expand("<presence to='{pub}/two'><nick xmlns='{nick}'>Ben</nick><status>here</status></presence>"))
		p.send("vis2", p.expand("<presence to='{pub}/two'><nick xmlns='{nick}'>Benno</nick></presence>"))
		p.send("s2s", p.expand("<presence from='{main2}' to='{room}/{main2.nick}'><x xmlns='{muc}'/></presence>"))
		list, err = p.svc.Watch(t.Context(), "room", late)
		require.NoError(t, err)
		require.Equal(t, []room.VisitorName{{ID: "one", Name: "Ann"}, {ID: "three", Name: ""}, {ID: "two", Name: "Benno"}}, list)
		p.svc.SessionClosed(p.client("vis2"))
		require.NoError(t, p.svc.Kick(t.Context(), "room", "one", ""))
		p.settle()
		require.Equal(t, []string{
			`two is "Ben"`, `three is ""`, `two is "Benno"`, "two is gone", "one is gone",
		}, w.take(), "participants are none of it, nor what is no name")
		require.Equal(t, []string{"two is gone", "one is gone"}, late.take())

		p.svc.Unwatch("room", late)
		require.NoError(t, p.svc.End(t.Context(), "room", ""))
		require.Equal(t, []string{"the end"}, w.take())
		require.Empty(t, late.take())
		p.svc.Unwatch("room", w)
		_, err = p.svc.Watch(t.Context(), "room", w)
		require.ErrorIs(t, err, ErrNoRoom)
		p.settle()
		_, ok = p.svc.RoomOfMeeting("meeting")
		require.False(t, ok)
	})
}

func TestWatchersAreBounded(t *testing.T) {
	inBubble(t, testConfig(), func(t *testing.T, p *player) {
		p.setup([]string{"main1"})
		for range maxWatchers {
			_, err := p.svc.Watch(t.Context(), "room", new(notes))
			require.NoError(t, err)
		}
		_, err := p.svc.Watch(t.Context(), "room", new(notes))
		require.ErrorIs(t, err, ErrWatched)
	})
}
