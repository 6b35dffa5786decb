package node

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vnode/internal/wire"
)

// page is a browser's page of jitsi-meet, as far as a conference's coming and going
// makes it do something (docs/CONFORMANCE.md, "What the page does at each signal").
type page struct {
	// Static after construction.
	w      *world
	room   string // its localpart
	prefer bool   // preferVisitor
	speaks bool   // it belongs to a speaker
	// resumes is how long after a loss of its stream the page finds out that it cannot
	// resume: it tries after 1.5 to 3 s, and, where nobody was there, 4.5 to 27 s later.
	resumes atomic.Int64 // a time.Duration

	mu sync.Mutex
	// Guarded by mu.
	conn    net.Conn
	state   pageState
	text    string          // of its dialog
	node    string          // it is on; "" for main
	here    map[string]bool // others in the room, by nick
	nick    string
	since   time.Time // when it began to watch, or to speak, last
	reloads int
	roles   []string // it was given, each time
}

type pageState string

const (
	pageLoads   pageState = "loads"
	pageIn      pageState = "in"
	pageEnded   pageState = "conference ended" // the quiet dialog
	pageStuck   pageState = "connection failed"
	pageReloads pageState = "reloads"
)

// run is the page's life, until the world ends.
func (p *page) run() {
	for p.w.ctx.Err() == nil {
		switch p.visit() {
		case pageReloads:
			p.set(pageReloads)
			p.w.pause(p.w.scaled(10*time.Second + time.Duration(rand.IntN(20))*time.Second))
			p.mu.Lock()
			p.reloads++
			p.mu.Unlock()
		case pageEnded:
			p.set(pageEnded)
			return
		case pageStuck:
			p.set(pageStuck)
			return
		}
	}
}

func (p *page) set(s pageState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.state = s
}

// visit asks jicofo, joins where it is sent, and stays until something ends that.
func (p *page) visit() pageState {
	p.set(pageLoads)
	p.w.pause(p.w.scaled(time.Duration(1000+rand.IntN(2000)) * time.Millisecond))
	var node string
	var err error
	for {
		if node, err = p.ask(); err == nil {
			break
		}
		if !p.speaks && !p.w.mainIsDown() {
			return pageStuck // Moderator._handleError: "connection failed"
		}
		// The page loads while main is away: it tries again and again. A speaker
		// whose request fails presses "Rejoin now".
		if p.w.ctx.Err() != nil {
			return pageStuck
		}
		p.w.pause(p.w.scaled(5 * time.Second))
	}
	role := "speaker"
	if node != "" {
		role = "visitor"
	}
	p.mu.Lock()
	p.roles = append(p.roles, role)
	p.mu.Unlock()
	addr, domain := p.w.main.C2SAddr().String(), "meet.jitsi"
	if node != "" {
		addr, domain = p.w.addresses()[node], node+".meet.jitsi"
	}
	if role == "speaker" {
		p.w.jicofo.spoke(p.room, 1)
		defer p.w.jicofo.spoke(p.room, -1)
	}
	return p.stay(node, addr, domain)
}

func (p *page) ask() (node string, err error) {
	properties := map[string]string{"visitors-version": "1"}
	if p.prefer && !p.speaks {
		properties["visitor"] = "true"
	}
	body, _ := json.Marshal(conferenceRequest{Room: p.room + "@conference.meet.jitsi", Properties: properties})
	client := http.Client{Timeout: 15 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Post(p.w.jicofo.rest.URL+"/conference-request/v1", "application/json", bytes.NewReader(body))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", errors.New(resp.Status)
	}
	var answer conferenceRequest
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return "", err
	}
	return answer.VNode, nil
}

// stay logs in and joins, and returns what the page does at the end.
func (p *page) stay(node, addr, domain string) pageState {
	conn, err := net.DialTimeout("tcp", addr, 2*time.Second)
	if err != nil {
		return pageReloads
	}
	defer conn.Close()
	stop := p.w.closes(conn)
	defer stop()
	room := p.room + "@conference." + domain
	r := wire.NewReader(conn, wire.Limits{MaxBytes: 1 << 20})
	header := wire.StreamHeader{Content: wire.NSClient, To: domain, Version: "1.0"}
	fmt.Fprintf(conn, "%s<auth xmlns='%s' mechanism='ANONYMOUS'/>", header.Append(nil, ""), wire.NSSASL)
	for {
		tok, err := r.Next()
		if err != nil {
			p.w.pause(p.w.scaled(time.Duration(p.resumes.Load())))
			return pageReloads
		}
		h, err := wire.ParseHeader(tok.Data)
		if err != nil {
			return pageReloads
		}
		switch string(h.Name) {
		case "success":
			r.Restart()
			fmt.Fprintf(conn, "%s<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>", header.Append(nil, ""))
		case "iq":
			_, after, bound := strings.Cut(string(tok.Data), "<jid>")
			if !bound {
				continue
			}
			p.mu.Lock()
			p.conn, p.node, p.nick, p.here = conn, node, after[:8], make(map[string]bool)
			p.mu.Unlock()
			fmt.Fprintf(conn, "<presence to='%s/%s'><x xmlns='%s'/></presence>", room, p.nick, wire.NSMUC)
		case "presence":
			if next := p.presence(conn, room, &h, string(tok.Data)); next != "" {
				return next
			}
		case "stream:error":
			return pageReloads
		}
	}
}

// presence is what the page does at one; "": it stays.
func (p *page) presence(conn net.Conn, room string, h *wire.Header, stanza string) pageState {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, nick, _ := strings.Cut(wire.Unescape(h.From), "/")
	if at != room {
		return "" // a node's words for main
	}
	gone := string(h.Type) == "unavailable"
	switch {
	case string(h.Type) == "error":
		p.text = stanza
		return pageStuck
	case gone && strings.Contains(stanza, "<destroy"):
		_, reason, _ := strings.Cut(stanza, "<reason>")
		p.text, _, _ = strings.Cut(reason, "</reason>")
		if p.text == room { // processDestroyConferenceEvent: joined anew, without a request
			p.here = make(map[string]bool)
			fmt.Fprintf(conn, "<presence to='%s/%s'><x xmlns='%s'/></presence>", room, p.nick, wire.NSMUC)
			p.state = pageLoads
			return ""
		}
		return pageEnded
	case gone && nick == "focus": // FOCUS_LEFT
		if p.speaks {
			fmt.Fprintf(conn, "<presence type='unavailable' to='%s/%s'><status>unrecoverable_error</status></presence></stream:stream>", room, p.nick)
		}
		return pageReloads
	case gone:
		delete(p.here, nick)
	case nick != "focus":
		p.here[nick] = true
	}
	if p.here[p.nick] && (p.speaks || len(p.here) > 1) {
		if p.state != pageIn {
			p.state, p.since = pageIn, time.Now()
		}
	}
	return ""
}

// leaves ends a speaker's stay: it hangs up, or its page meets an error.
func (p *page) leaves(inError bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	status := ""
	if inError {
		status = "<status>unrecoverable_error</status>"
	}
	fmt.Fprintf(p.conn, "<presence type='unavailable' to='%s@conference.meet.jitsi/%s'>%s</presence></stream:stream>", p.room, p.nick, status)
}

// watches reports whether somebody is seen or heard on the page.
func (p *page) watches() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state == pageIn
}

func (p *page) is() (s pageState, since time.Time, reloads int, roles []string, node string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.state, p.since, p.reloads, p.roles, p.node
}
