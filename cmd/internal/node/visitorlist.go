package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strings"

	"vnode/internal/visitorlist"
	"vnode/internal/wire"
	"vnode/muc"
	"vnode/muc/room"
	"vnode/visitor"
	"vnode/visitor/token"
)

// withList adds the list of visitors to what browsers reach. Without tokens
// nobody could be told from anybody: nothing leads to the list then.
func (n *Node) withList(web http.Handler, clients *visitor.Config) http.Handler {
	from := func(r *http.Request) netip.Addr {
		if a := clients.Requests.Read(r).Client; !a.IsLoopback() {
			return a
		}
		return netip.Addr{} // a proxy that does not tell
	}
	n.list = visitorlist.New(visitorlist.Config{Guard: n.guard, Rooms: watched{n.rooms}, Gate: gate{clients.Tokens}, PerAddress: clients.Limits.PerAddress, Client: from},
		n.log, n.registry)
	if clients.Tokens == nil {
		return web
	}
	mux := http.NewServeMux()
	mux.Handle("/", web)
	mux.Handle("GET "+visitorlist.Path, n.list)
	return mux
}

// watched is the rooms as the list of visitors sees them.
type watched struct{ rooms *muc.Service }

// RoomOfMeeting implements visitorlist.Rooms.
func (w watched) RoomOfMeeting(_ context.Context, meeting string) (string, error) {
	if room, ok := w.rooms.RoomOfMeeting(meeting); ok {
		return room, nil
	}
	return "", fmt.Errorf("%w: %.64q", visitorlist.ErrNoMeeting, meeting)
}

// Watch implements visitorlist.Rooms.
func (w watched) Watch(ctx context.Context, room string, to visitorlist.Watcher) ([]visitorlist.Visitor, error) {
	names, err := w.rooms.Watch(ctx, room, watcher{to})
	list := make([]visitorlist.Visitor, len(names))
	for i, v := range names {
		list[i] = visitorlist.Visitor(v)
	}
	return list, listError(err)
}

// Unwatch implements visitorlist.Rooms.
func (w watched) Unwatch(room string, to visitorlist.Watcher) { w.rooms.Unwatch(room, watcher{to}) }

func listError(err error) error {
	if errors.Is(err, muc.ErrNoRoom) {
		return fmt.Errorf("%w: %w", visitorlist.ErrNoMeeting, err)
	}
	return err
}

// watcher is a visitorlist.Watcher as rooms see it.
type watcher struct{ visitorlist.Watcher }

// Here implements muc.Watcher.
func (w watcher) Here(v room.VisitorName) { w.Watcher.Here(visitorlist.Visitor(v)) }

// listFeature is what jitsi-meet looks for in the token before it asks for the
// list.
const listFeature = "list-visitors"

// gate lets those see the list whose token has the feature, of the rooms that
// the token is for.
type gate struct{ tokens *token.Verifier }

// Admit implements visitorlist.Gate.
func (g gate) Admit(ctx context.Context, raw string) (visitorlist.Pass, error) {
	grant, err := g.tokens.Verify(ctx, raw, "")
	if err != nil {
		return nil, err
	}
	if grant == nil || !grant.Identity().Features[listFeature] {
		return nil, errors.New("a token with the feature " + listFeature + " is required")
	}
	return func(address string) bool {
		local, _, _ := strings.Cut(address, "@")
		tenant, room := wire.CutTenant(local)
		return grant.Covers(room, tenant)
	}, nil
}
