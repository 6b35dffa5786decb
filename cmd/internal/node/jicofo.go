package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"vnode/cmd/internal/config"
	"vnode/muc/room"
)

// comeback is how audiences come back after a fault.
func comeback(c *config.Config) room.Comeback {
	b := room.Comeback{
		Mode: room.ComebackMode(c.Comeback), Word: time.Duration(c.ComebackWord), Settle: time.Duration(c.ComebackSettle),
		Ask: time.Duration(c.ComebackAsk), GiveUp: time.Duration(c.ComebackGiveUp), JoinWait: time.Duration(c.JoinWait), Rate: c.ComebackRate,
	}
	if b.Rate == 0 {
		b.Rate = -1 // no limit
	}
	return b
}

// jicofo is its REST interface.
type jicofo struct{ url string }

// conferenceRequest is what a page asks jicofo, and its answer, as far as the
// node looks at it.
type conferenceRequest struct {
	Room       string            `json:"room"`
	Properties map[string]string `json:"properties,omitempty"`
	VNode      string            `json:"vnode,omitempty"`
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 10

// ask sends a conference request for a visitor, for a room of main's. It returns
// the id of the node that jicofo chose, and blocks until jicofo has joined the room
// there, or ctx ends.
func (j jicofo) ask(ctx context.Context, room string) (node string, err error) {
	body, err := json.Marshal(conferenceRequest{Room: room, Properties: map[string]string{"visitors-version": "1", "visitor": "true"}})
	if err != nil {
		return "", err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, j.url+"/conference-request/v1", bytes.NewReader(body))
	if err != nil {
		return "", fmt.Errorf("jicofo-url: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return "", fmt.Errorf("jicofo does not answer; is jicofo-url right, and jicofo.rest.conference-request enabled? %w", err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return "", fmt.Errorf("jicofo's answer broke off: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("jicofo refused the conference request: %s", resp.Status)
	}
	var answer conferenceRequest
	if err := json.Unmarshal(b, &answer); err != nil {
		return "", fmt.Errorf("jicofo's answer is no conference request: %w", err)
	}
	if answer.VNode == "" {
		return "", errors.New("jicofo chose no node; are visitors enabled there?")
	}
	return answer.VNode, nil
}

// count asks jicofo how many participants it sees in a room of main's, without
// recorders and transcribers; none where it has no such conference. Jicofo's debug
// interface tells that, which is there unless jicofo.rest.debug turns it off.
func (j jicofo) count(ctx context.Context, room string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, j.url+"/debug/conference/"+url.PathEscape(room), nil)
	if err != nil {
		return 0, fmt.Errorf("jicofo-url: %w", err)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0, fmt.Errorf("jicofo does not answer; is jicofo-url right? %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return 0, fmt.Errorf("jicofo does not say who is in a conference: %s; is jicofo.rest.debug enabled?", resp.Status)
	}
	return countMembers(io.LimitReader(resp.Body, maxConference))
}

// maxConference bounds what is read of what jicofo tells of a conference. What it
// tells of the room, some 600 bytes a participant, comes before the rest.
const maxConference = 4 << 20

// countMembers reads what jicofo tells of a conference, up to its room.
func countMembers(r io.Reader) (int, error) {
	d := json.NewDecoder(r)
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return 0, errors.New("what jicofo tells of a conference is no JSON object")
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return 0, fmt.Errorf("jicofo's answer broke off: %w", err)
		}
		if key != "chat_room" {
			var other json.RawMessage
			if err := d.Decode(&other); err != nil {
				return 0, fmt.Errorf("jicofo's answer broke off: %w", err)
			}
			continue
		}
		var room struct {
			Members map[string]struct {
				Jibri       bool `json:"is_jibri"`
				Transcriber bool `json:"is_transcriber"`
			} `json:"members"`
		}
		if err := d.Decode(&room); err != nil {
			return 0, fmt.Errorf("what jicofo tells of a room is not understood: %w", err)
		}
		n := 0
		for _, m := range room.Members {
			if !m.Jibri && !m.Transcriber {
				n++
			}
		}
		return n, nil
	}
	return 0, nil // no such conference
}
