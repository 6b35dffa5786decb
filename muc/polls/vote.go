package polls

import (
	"encoding/json"
	"errors"
	"fmt"
)

// MaxVoteBytes bounds the JSON of a vote. Main's component ignores what is
// longer, so a vote that is must not be counted here either.
const MaxVoteBytes = 1023

// Errors of [ParseVote] and [Board.Cast].
var (
	ErrTooLong   = fmt.Errorf("polls: a message has more than %d bytes", MaxVoteBytes)
	ErrMalformed = errors.New("polls: the message is no vote")
	ErrCreation  = errors.New("polls: the message creates a poll")
	ErrNoPoll    = errors.New("polls: no such poll")
	ErrChoices   = errors.New("polls: the vote has more answers than the poll")
	ErrFull      = errors.New("polls: the poll has as many voters as it may")
)

// Voter is who votes.
type Voter struct {
	ID   string `json:"id"`             // the nick in the room
	Name string `json:"name,omitempty"` // for display; "" for none
}

// Vote is a voter's choice: for each answer of a poll whether it is chosen.
type Vote struct {
	Poll    string
	Choices []bool
}

// ParseVote reads what a visitor sends to the polls component: the JSON of an
// answer-poll command. Who is said to have sent it is not read. The error is of
// [ErrTooLong], [ErrCreation] for a new-poll command, or [ErrMalformed].
func ParseVote(text string) (Vote, error) {
	if len(text) > MaxVoteBytes {
		return Vote{}, ErrTooLong
	}
	var m struct {
		Type    string          `json:"type"`
		Command string          `json:"command"`
		Poll    string          `json:"pollId"`
		Answers json.RawMessage `json:"answers"`
	}
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		return Vote{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	switch {
	case m.Type != "polls":
		return Vote{}, fmt.Errorf("%w: its type is not polls", ErrMalformed)
	case m.Command == commandNew:
		return Vote{}, ErrCreation
	case m.Command != commandAnswer:
		return Vote{}, fmt.Errorf("%w: unknown command", ErrMalformed)
	}
	// A null among booleans would pass for false.
	var choices []*bool
	if err := json.Unmarshal(m.Answers, &choices); err != nil {
		return Vote{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	v := Vote{Poll: m.Poll, Choices: make([]bool, len(choices))}
	for i, c := range choices {
		if c == nil {
			return Vote{}, fmt.Errorf("%w: an answer is null", ErrMalformed)
		}
		v.Choices[i] = *c
	}
	if len(v.Choices) == 0 {
		return Vote{}, fmt.Errorf("%w: no answers", ErrMalformed)
	}
	return v, nil
}
