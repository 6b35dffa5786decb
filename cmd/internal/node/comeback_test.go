package node

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/xmpptest/jitsi"
)

// Each row of the table: a part around the visitors fails and comes back, with a
// real main Prosody, a scripted jicofo and scripted pages, at a fifteenth of the
// time. Everybody watches again by himself, and nobody changes his role.
// COMEBACK_VISITORS=2000 runs it with so many visitors, at full scale.
func TestTheAudienceComesBack(t *testing.T) {
	visitors, scale := 8, 1.0/15
	if n, err := strconv.Atoi(os.Getenv("COMEBACK_VISITORS")); err == nil {
		visitors, scale = n, 1
	}
	program, err := jitsi.Build(t.Context(), t.TempDir())
	require.NoError(t, err)
	row := func(name string, test func(t *testing.T, w *world), flags ...string) {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, program, scale, flags, "v3", "v4")
			w.begin(visitors)
			test(t, w)
		})
	}
	row("jicofo is killed and back after 8 s", func(t *testing.T, w *world) {
		w.fault()
		w.jicofo.kill()
		w.pause(w.scaled(8 * time.Second))
		w.jicofo.start()
		w.back(75 * time.Second)
	})
	row("jicofo is killed, and the audience joins again in silence", func(t *testing.T, w *world) {
		w.fault()
		w.jicofo.kill()
		w.pause(w.scaled(8 * time.Second))
		w.jicofo.start()
		w.back(75 * time.Second)
		silent := 0
		for _, p := range w.visitors {
			if _, _, reloads, _, _ := p.is(); reloads == 0 {
				silent++
			}
		}
		require.NotZero(t, silent, "those on the node that jicofo chose reload nothing")
	}, "-comeback", "silent")
	row("jicofo is restarted in order", func(t *testing.T, w *world) {
		w.fault()
		w.jicofo.stop()
		w.pause(w.scaled(2 * time.Second))
		w.jicofo.start()
		w.back(75 * time.Second)
	})
	row("the videobridge is restarted", func(t *testing.T, w *world) {
		w.fault()
		for _, p := range w.speakers {
			p.leaves(true)
		}
		w.back(60 * time.Second)
	})
	row("main is killed and back in 2 s", func(t *testing.T, w *world) {
		w.fault()
		w.down.Store(true)
		require.NoError(t, w.main.Kill())
		w.pause(w.scaled(2 * time.Second))
		require.NoError(t, w.main.Restart(t.Context()))
		w.down.Store(false)
		w.back(75 * time.Second)
	})
	row("main is killed, and a speaker's browser is 50 s late to see it", func(t *testing.T, w *world) {
		w.speakers[1].resumes.Store(int64(50 * time.Second))
		w.fault()
		w.down.Store(true)
		require.NoError(t, w.main.Kill())
		w.pause(w.scaled(2 * time.Second))
		require.NoError(t, w.main.Restart(t.Context()))
		w.down.Store(false)
		w.back(50*time.Second + 75*time.Second) // behind that speaker
	})
	row("a node is killed and started", func(t *testing.T, w *world) {
		node := w.nodes["v3"]
		w.onBoth()
		w.fault()
		w.end(node, syscall.SIGKILL)
		w.start(node)
		w.backOnly(50 * time.Second)
	})
	row("a node is stopped and started", func(t *testing.T, w *world) {
		node := w.nodes["v3"]
		w.onBoth()
		w.end(node, syscall.SIGTERM)
		w.start(node)
		w.fault()
		w.backOnly(32 * time.Second)
	})
	row("a new conference while a node drains, and after", func(t *testing.T, w *world) {
		code, body := w.ask(w.nodes["v3"], "POST", "/admin/drain", `{"force": true}`)
		require.Equal(t, 202, code, body)
		for _, room := range []string{"second", "third", "fourth"} {
			speaker := w.open(&page{room: room, speaks: true})
			w.eventually("a speaker is in "+room, speaker.watches)
			visitor := w.open(&page{room: room, prefer: true})
			w.eventually("a visitor watches "+room, visitor.watches)
			_, _, reloads, _, _ := visitor.is()
			require.Zero(t, reloads, "it was sent to a node that did not take it")
		}
		code, body = w.ask(w.nodes["v3"], "DELETE", "/admin/drain", "")
		require.Equal(t, 200, code, body)
		speaker := w.open(&page{room: "fifth", speaks: true})
		w.eventually("a speaker is in", speaker.watches)
		w.spreadOver = 2
		for range 4 {
			visitor := w.open(&page{room: "fifth", prefer: true})
			w.eventually("a visitor watches after the drain", visitor.watches)
		}
		require.Len(t, w.jicofo.has("fifth"), 2, "jicofo uses the node again")
	})
	row("all nodes are drained by force", func(t *testing.T, w *world) {
		for _, p := range w.nodes {
			code, body := w.ask(p, "POST", "/admin/drain", `{"force": true, "timeout": "1ms"}`)
			require.Equal(t, 202, code, body)
		}
		w.eventually("the rooms are gone", func() bool { return len(w.jicofo.has("demo")) == 0 })
		watched := func(room string) {
			speaker := w.open(&page{room: room, speaks: true})
			w.eventually("a speaker is in "+room, speaker.watches)
			visitors := []*page{w.open(&page{room: room, prefer: true}), w.open(&page{room: room, prefer: true})}
			w.eventually("visitors watch "+room, func() bool { return all(visitors, (*page).watches) })
			w.pause(w.scaled(30 * time.Second)) // as long as a drain without a deadline
			for _, p := range visitors {
				_, _, reloads, _, _ := p.is()
				require.Zero(t, reloads, "jicofo sent it to a node that it is not logged in at, or its room ended")
			}
		}
		watched("during")
		for _, p := range w.nodes {
			code, body := w.ask(p, "DELETE", "/admin/drain", "")
			require.Equal(t, 200, code, body)
		}
		watched("after")
	})
	row("a drained node is left alone", func(t *testing.T, w *world) {
		node := w.nodes["v3"]
		w.onBoth()
		w.fault()
		code, body := w.ask(node, "POST", "/admin/drain", `{"force": true, "timeout": "1ms"}`)
		require.Equal(t, 202, code, body)
		w.eventually("jicofo is sent away", func() bool { return !w.jicofo.loggedIn("v3") })
		w.backOnly(32 * time.Second)
		for _, p := range w.visitors {
			_, _, _, _, at := p.is()
			require.Equal(t, "v4", at)
		}
		code, _ = w.ask(node, "DELETE", "/admin/drain", "")
		require.Equal(t, 200, code)
		w.eventually("jicofo is back", func() bool { return w.jicofo.loggedIn("v3") })
	})
	for name, end := range map[string]func(w *world){
		"the speakers hang up": func(w *world) {
			for _, p := range w.speakers {
				p.leaves(false)
			}
		},
		"the conference is ended for all": func(w *world) { w.jicofo.end("demo") },
	} {
		row(name, func(t *testing.T, w *world) {
			for _, p := range w.speakers {
				p.mu.Lock()
				p.speaks = p.speaks && !strings.Contains(name, "ended") // its page ends as well
				p.mu.Unlock()
			}
			end(w)
			ended := func(p *page) bool { s, _, _, _, _ := p.is(); return s == pageEnded }
			w.eventually("everybody is told", func() bool { return all(w.visitors, ended) })
			for _, p := range w.visitors {
				_, _, reloads, _, _ := p.is()
				require.Zero(t, reloads, "nobody reloads at a normal end")
				require.Equal(t, "Conference ended.", p.text)
			}
		})
	}
}

// onBoth waits until both nodes have visitors: those of the other one must see
// nothing at all.
func (w *world) onBoth() {
	w.eventually("both nodes have visitors", func() bool { return len(w.jicofo.has("demo")) == 2 })
}

// backOnly is back for visitors of one node, while the speakers stayed.
func (w *world) backOnly(limit time.Duration) {
	w.t.Helper()
	speakers := w.speakers
	var affected, untouched []*page
	w.eventually("all watch", func() bool {
		affected, untouched = nil, nil
		for _, p := range w.visitors {
			s, since, reloads, _, _ := p.is()
			if s != pageIn {
				return false
			}
			if reloads > 0 {
				affected = append(affected, p)
				if since.Before(w.faultAt) {
					return false
				}
			} else {
				untouched = append(untouched, p)
			}
		}
		return len(affected) > 0
	})
	all := w.visitors
	w.visitors, w.speakers = affected, nil
	w.back(limit)
	w.visitors, w.speakers = all, speakers
	w.sameRoles()
	require.NotEmpty(w.t, untouched, "visitors of the other node see nothing")
	for _, p := range w.speakers {
		_, _, reloads, _, _ := p.is()
		require.Zero(w.t, reloads)
	}
}
