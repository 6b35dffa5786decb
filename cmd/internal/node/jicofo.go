package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
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
