package polls

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Commands of the component's protocol.
const (
	commandNew    = "new-poll"
	commandAnswer = "answer-poll"
	commandOld    = "old-polls"

	messageType = "polls"
)

// list is all polls of a room, as main tells them to a node and the component
// tells them to who joins.
type list struct {
	Type    string     `json:"type"`
	Command string     `json:"command"`
	Polls   []pollJSON `json:"polls"`
}

type pollJSON struct {
	ID         string       `json:"pollId"`
	Sender     string       `json:"senderId,omitempty"`
	SenderName string       `json:"senderName,omitempty"`
	Question   string       `json:"question"`
	Answers    []answerJSON `json:"answers"`
}

type answerJSON struct {
	Name   string `json:"name"`
	Voters voters `json:"voters,omitempty"`
}

// voters of an answer. Main's JSON library cannot tell an empty list from an
// empty object and writes the latter.
type voters []Voter

// UnmarshalJSON implements json.Unmarshaler.
func (v *voters) UnmarshalJSON(b []byte) error {
	*v = nil
	if string(b) == "{}" {
		return nil
	}
	return json.Unmarshal(b, (*[]Voter)(v))
}

// created announces a poll.
type created struct {
	Type     string       `json:"type"`
	Command  string       `json:"command"`
	Room     string       `json:"roomJid"`
	ID       string       `json:"pollId"`
	Sender   string       `json:"senderId,omitempty"`
	Question string       `json:"question"`
	Answers  []answerJSON `json:"answers"`
}

// answered announces a vote, to visitors and to main.
type answered struct {
	Type    string `json:"type"`
	Command string `json:"command"`
	Room    string `json:"roomJid"`
	Poll    string `json:"pollId"`
	ID      string `json:"senderId"`
	Name    string `json:"senderName,omitempty"`
	Choices []bool `json:"answers"`
}

// encode writes v without making '<' and '&' longer: the XML around it does.
func encode(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("polls: " + err.Error()) // strings and booleans can be encoded
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

var errNoList = errors.New("polls: main's message is no list of polls")

// parseList reads main's polls; those the limits forbid are left out, and
// counted.
func parseList(text string, lim *Limits) (polls []pollJSON, left int, err error) {
	var l list
	if err := json.Unmarshal([]byte(text), &l); err != nil {
		return nil, 0, fmt.Errorf("%w: %w", errNoList, err)
	}
	if l.Command != commandOld {
		return nil, 0, fmt.Errorf("%w: command %.32q", errNoList, l.Command)
	}
	seen := make(map[string]bool, len(l.Polls))
	for i := range l.Polls {
		p := &l.Polls[i]
		if len(polls) >= lim.Polls || seen[p.ID] || !p.valid(lim) {
			left++
			continue
		}
		seen[p.ID] = true
		polls = append(polls, *p)
	}
	return polls, left, nil
}

func (p *pollJSON) valid(lim *Limits) bool {
	size := len(p.ID) + len(p.Sender) + len(p.SenderName) + len(p.Question)
	for _, a := range p.Answers {
		size += len(a.Name)
	}
	return p.ID != "" && len(p.Answers) > 0 && len(p.Answers) <= lim.Answers && size <= lim.Bytes
}
