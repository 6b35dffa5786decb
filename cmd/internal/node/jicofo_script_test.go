package node

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"vnode/internal/wire"
	"vnode/internal/xmpptest/conference"
)

// scriptedJicofo behaves as jicofo's source of August 2026 does, as far as nodes
// can tell: it puts a node into a conference's map before it joins the room there
// and leaves it there when the join fails; it forgets a node only when the room
// there is destroyed; after a reconnection it joins no room again but sends a
// presence update to each it believes in; and once a conference has a node it makes
// a visitor of everybody who asks.
type scriptedJicofo struct {
	// Static after construction.
	t       *testing.T
	w       *world
	rest    *httptest.Server // of its REST interface
	ctx     context.Context
	running sync.WaitGroup

	mu sync.Mutex
	// Guarded by mu.
	life        int // counts its starts
	up          bool
	main        *conference.Focus
	nodes       map[string]*nodeLogin        // by id
	conferences map[string]*jicofoConference // by the room's localpart
}

// jicofoConference is a conference that jicofo believes in.
type jicofoConference struct {
	speakers int
	nodes    map[string]bool // its map of visitor rooms
}

// nodeLogin is its connection to a node.
type nodeLogin struct {
	conn   net.Conn
	joined map[string]chan error // by room: a join that waits for its answer
}

func newScriptedJicofo(t *testing.T, w *world) *scriptedJicofo {
	ctx, cancel := context.WithCancel(context.Background())
	j := &scriptedJicofo{t: t, w: w, ctx: ctx}
	j.rest = httptest.NewServer(http.HandlerFunc(j.serve))
	t.Cleanup(func() {
		cancel()
		j.kill()
		j.running.Wait()
		j.rest.Close()
	})
	return j
}

// start logs in at main and at all nodes, and goes on trying, knowing of no
// conference.
func (j *scriptedJicofo) start() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.life++
	j.up, j.nodes, j.conferences = true, make(map[string]*nodeLogin), make(map[string]*jicofoConference)
	life := j.life
	for id := range j.w.addresses() {
		j.running.Go(func() { j.keepLoggedIn(life, id) })
	}
	j.running.Go(func() { j.keepMain(life) })
}

// kill ends all its connections without a word.
func (j *scriptedJicofo) kill() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.life++
	j.up = false
	for _, n := range j.nodes {
		_ = n.conn.(*net.TCPConn).SetLinger(0)
		_ = n.conn.Close()
	}
	if f := j.main; f != nil {
		j.running.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = f.Close(ctx) // main ends its stays in its rooms
		})
		j.main = nil
	}
}

// stop ends its streams in order first.
func (j *scriptedJicofo) stop() {
	j.mu.Lock()
	for _, n := range j.nodes {
		_, _ = n.conn.Write([]byte("</stream:stream>"))
	}
	j.mu.Unlock()
	j.kill()
}

func (j *scriptedJicofo) alive(life int) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.life == life && j.up && j.ctx.Err() == nil
}

func (j *scriptedJicofo) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-j.ctx.Done():
	}
}

// keepMain stays logged in at main. After a loss it takes a while to come back; its
// new stream there makes it give up all its conferences and leave the nodes' rooms.
func (j *scriptedJicofo) keepMain(life int) {
	for n := 0; j.alive(life); n++ {
		ctx, cancel := context.WithTimeout(j.ctx, 5*time.Second)
		f, err := conference.DialFocus(ctx, conference.FocusOptions{Addr: j.w.main.C2SAddr().String(), JID: "focus@auth.meet.jitsi/focus", Password: j.w.main.FocusPassword()})
		cancel()
		if err != nil {
			j.pause(50 * time.Millisecond)
			continue
		}
		j.mu.Lock()
		if j.life != life {
			j.mu.Unlock()
			_ = f.Close(j.ctx)
			return
		}
		j.main = f
		j.mu.Unlock()
		if n > 0 {
			j.giveUp(life)
		}
		<-f.Done()
		j.mu.Lock()
		if j.main == f {
			j.main = nil
		}
		j.mu.Unlock()
		for j.w.mainIsDown() && j.alive(life) {
			j.pause(10 * time.Millisecond)
		}
		j.pause(j.w.scaled(15 * time.Second))
	}
}

// giveUp leaves all rooms.
func (j *scriptedJicofo) giveUp(life int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.life != life {
		return
	}
	for local, c := range j.conferences {
		for id := range c.nodes {
			j.leave(id, local)
		}
	}
	clear(j.conferences)
}

// leave leaves a room, with mu held.
func (j *scriptedJicofo) leave(id, local string) {
	if n := j.nodes[id]; n != nil {
		fmt.Fprintf(n.conn, "<presence type='unavailable' to='%s@conference.%s.meet.jitsi/focus'/>", local, id)
	}
}

// keepLoggedIn stays logged in at a node.
func (j *scriptedJicofo) keepLoggedIn(life int, id string) {
	for j.alive(life) {
		if err := j.session(life, id); err != nil {
			j.pause(50 * time.Millisecond) // jicofo: 1 s
		}
	}
}

// session is one stream to a node.
func (j *scriptedJicofo) session(life int, id string) error {
	conn, err := net.DialTimeout("tcp", j.w.addresses()[id], time.Second)
	if err != nil {
		return err
	}
	defer conn.Close()
	r := wire.NewReader(conn, wire.Limits{MaxBytes: 8 << 20})
	header := wire.StreamHeader{Content: wire.NSClient, To: "auth.meet.jitsi", Version: "1.0"}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00focus\x00" + focusPassword))
	await := func(name string) error {
		for {
			tok, err := r.Next()
			if err != nil {
				return err
			}
			h, err := wire.ParseHeader(tok.Data)
			if err != nil {
				return err
			}
			switch string(h.Name) {
			case name:
				return nil
			case "failure", "stream:error":
				return errors.New(string(tok.Data))
			}
		}
	}
	fmt.Fprintf(conn, "%s", header.Append(nil, ""))
	fmt.Fprintf(conn, "<auth xmlns='%s' mechanism='PLAIN'>%s</auth>", wire.NSSASL, plain)
	if err := await("success"); err != nil {
		return err
	}
	r.Restart()
	fmt.Fprintf(conn, "%s<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>focus</resource></bind></iq>", header.Append(nil, ""))
	if err := await("iq"); err != nil {
		return err
	}
	n := &nodeLogin{conn: conn, joined: make(map[string]chan error)}
	j.mu.Lock()
	if j.life != life {
		j.mu.Unlock()
		return nil
	}
	j.nodes[id] = n
	for local, c := range j.conferences {
		if c.nodes[id] { // it joins no room again
			fmt.Fprintf(conn, "<presence to='%s@conference.%s.meet.jitsi/focus'><conference-properties xmlns='http://jitsi.org/protocol/focus'/></presence>", local, id)
		}
	}
	j.mu.Unlock()
	err = j.read(id, n, r)
	j.mu.Lock()
	if j.nodes[id] == n {
		delete(j.nodes, id)
	}
	for _, joined := range n.joined {
		joined <- err
	}
	j.mu.Unlock()
	return err
}

// read takes what a node says until the stream ends.
func (j *scriptedJicofo) read(id string, n *nodeLogin, r *wire.Reader) error {
	for {
		tok, err := r.Next()
		if err != nil {
			return err
		}
		if tok.Kind != wire.Element {
			return errors.New("the stream ended")
		}
		h, err := wire.ParseHeader(tok.Data)
		if err != nil || string(h.Name) != "presence" {
			continue
		}
		room, nick, _ := strings.Cut(wire.Unescape(h.From), "/")
		local, _, _ := strings.Cut(room, "@")
		if nick != "focus" {
			continue
		}
		stanza := string(tok.Data)
		j.mu.Lock()
		switch {
		case string(h.Type) == "unavailable" && strings.Contains(stanza, "<destroy"):
			if c := j.conferences[local]; c != nil {
				delete(c.nodes, id)
				j.visitorsIQ((*conference.Focus).DisconnectVNode, local, id)
			}
		case n.joined[room] == nil:
		case string(h.Type) == "error":
			n.joined[room] <- errors.New(stanza)
			delete(n.joined, room)
		case string(h.Type) == "":
			n.joined[room] <- nil
			delete(n.joined, room)
		}
		j.mu.Unlock()
	}
}

// visitorsIQ tells main of a node, without waiting for its answer.
func (j *scriptedJicofo) visitorsIQ(what func(*conference.Focus, context.Context, string, string, string) error, local, id string) {
	if f := j.main; f != nil {
		j.running.Go(func() {
			ctx, cancel := context.WithTimeout(j.ctx, 5*time.Second)
			defer cancel()
			_ = what(f, ctx, j.w.main.VisitorsDomain(), local+"@conference.meet.jitsi", id) // main may be gone
		})
	}
}

// serve answers conference requests, and tells of conferences.
func (j *scriptedJicofo) serve(w http.ResponseWriter, r *http.Request) {
	if room, ok := strings.CutPrefix(r.URL.Path, "/debug/conference/"); ok {
		j.tell(w, room)
		return
	}
	var ask conferenceRequest
	if json.NewDecoder(r.Body).Decode(&ask) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	local, _, _ := strings.Cut(ask.Room, "@")
	node, err := j.request(local, ask.Properties["visitor"] == "true")
	if err != nil {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	ask.VNode = node
	_ = json.NewEncoder(w).Encode(ask)
}

// tell writes who is in a conference's room on main, as its debug interface does.
func (j *scriptedJicofo) tell(w http.ResponseWriter, room string) {
	local, _, _ := strings.Cut(room, "@")
	j.mu.Lock()
	defer j.mu.Unlock()
	if !j.up {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	c := j.conferences[local]
	if c == nil {
		fmt.Fprint(w, "{}")
		return
	}
	members := make(map[string]map[string]bool)
	for i := range c.speakers {
		members[fmt.Sprint("speaker", i)] = map[string]bool{"is_jibri": false, "is_transcriber": false}
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"name": room, "chat_room": map[string]any{"members": members}, "participants": map[string]any{}})
}

// request answers a conference request: with a node for a visitor, with "" for a
// participant.
func (j *scriptedJicofo) request(local string, visitor bool) (node string, err error) {
	j.mu.Lock()
	if !j.up || j.main == nil {
		j.mu.Unlock()
		return "", errors.New("jicofo is not there")
	}
	c := j.conferences[local]
	if c == nil {
		c = &jicofoConference{nodes: make(map[string]bool)}
		j.conferences[local] = c
		main := j.main
		j.mu.Unlock()
		if _, err := main.CreateRoom(j.ctx, local+"@conference.meet.jitsi", nil); err != nil {
			return "", err
		}
		j.mu.Lock()
	}
	if !visitor && len(c.nodes) == 0 {
		j.mu.Unlock()
		return "", nil
	}
	node = j.choose(c)
	if c.nodes[node] {
		j.mu.Unlock()
		return node, nil
	}
	c.nodes[node] = true // before it has joined
	n := j.nodes[node]
	if n == nil {
		j.mu.Unlock()
		return "", errors.New("not logged in at " + node)
	}
	room, joined := fmt.Sprintf("%s@conference.%s.meet.jitsi", local, node), make(chan error, 1)
	n.joined[room] = joined
	fmt.Fprintf(n.conn, "<presence to='%s/focus'><x xmlns='%s'/></presence>", room, wire.NSMUC)
	j.mu.Unlock()
	select {
	case err = <-joined:
	case <-time.After(5 * time.Second):
		err = errors.New("no answer from " + node)
	}
	if err != nil {
		return "", err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.visitorsIQ((*conference.Focus).ConnectVNode, local, node)
	return node, nil
}

// choose is selectVisitorNode, with mu held: a node that has the conference, which
// is full until spreadOver have it; else one at which jicofo is logged in, else any.
// Whether it is logged in where it has the conference it does not ask.
func (j *scriptedJicofo) choose(c *jicofoConference) string {
	if len(c.nodes) < j.w.spreadOver {
		for id := range j.nodes {
			if !c.nodes[id] {
				return id
			}
		}
	}
	for id := range c.nodes {
		return id
	}
	for id := range j.w.addresses() {
		return id
	}
	return ""
}

// spoke counts a participant in, or out: when the last has left, jicofo ends the
// conference.
func (j *scriptedJicofo) spoke(local string, by int) {
	j.mu.Lock()
	defer j.mu.Unlock()
	c := j.conferences[local]
	if c == nil || by < 0 && j.w.mainIsDown() { // then it hears of no leave
		return
	}
	if c.speakers += by; c.speakers > 0 || by > 0 {
		return
	}
	j.endLocked(local)
}

// end ends a conference for all.
func (j *scriptedJicofo) end(local string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.endLocked(local)
}

func (j *scriptedJicofo) endLocked(local string) {
	c := j.conferences[local]
	if c == nil {
		return
	}
	for id := range c.nodes {
		j.visitorsIQ((*conference.Focus).DisconnectVNode, local, id)
		j.leave(id, local)
	}
	delete(j.conferences, local)
	if f := j.main; f != nil {
		j.running.Go(func() { _ = f.Send(j.ctx, "<presence type='unavailable' to='"+local+"@conference.meet.jitsi/focus'/>") })
	}
}

// loggedIn reports whether it is logged in at a node.
func (j *scriptedJicofo) loggedIn(id string) bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.nodes[id] != nil
}

// has lists the nodes that it sends a conference's visitors to.
func (j *scriptedJicofo) has(local string) (ids []string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if c := j.conferences[local]; c != nil {
		for id := range c.nodes {
			ids = append(ids, id)
		}
	}
	return ids
}
