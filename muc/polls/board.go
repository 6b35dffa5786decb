package polls

import (
	"slices"
	"strconv"
)

// Limits of a board. Zero values mean the defaults.
type Limits struct {
	Polls   int // in the room; default 128, as on main
	Answers int // of a poll; default 100
	Bytes   int // of a poll's texts; default 4096. Main's limit is 1024 of its JSON
	Voters  int // of a poll, on all nodes together; default 20000
}

func (l Limits) withDefaults() Limits {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&l.Polls, 128)
	def(&l.Answers, 100)
	def(&l.Bytes, 4096)
	def(&l.Voters, 20000)
	return l
}

// Board is the polls of one room. It belongs to one goroutine.
type Board struct {
	// Static after construction.
	room, main string
	limits     Limits

	order []*poll
	byID  map[string]*poll
	news  []item             // not told yet, oldest first
	sent  map[string]*ballot // to main, which has not shown them; by their message's id
	lost  []*ballot          // whose message to main came back
	last  uint64             // id of a message
	old   []byte             // encoded; nil when it is to be made anew
}

type poll struct {
	id, sender, senderName, question string
	answers                          []string
	ballots                          []*ballot // in the order they came
	byVoter                          map[string]*ballot
}

// ballot is a voter's latest vote in one poll; all false when it was taken
// back.
type ballot struct {
	poll    *poll
	voter   Voter
	choices []bool

	waits bool   // is among the news
	own   bool   // cast here, and main has not shown it
	again bool   // is news for main only
	tries int    // messages to main that came back
	id    string // of the latest message to main
}

// item is news: of a ballot, or of a new poll when that is nil.
type item struct {
	poll   *poll
	ballot *ballot
}

// News is something to tell.
type News struct {
	// Announce is the JSON for all visitors; nil if they know it.
	Announce []byte
	// ToMain is the JSON for main's component, in a message with MessageID;
	// nil if main knows it.
	ToMain    []byte
	MessageID string
}

// NewBoard returns an empty board. room is the room's address as visitors know
// it, main that of the main room.
func NewBoard(room, main string, l Limits) *Board {
	return &Board{
		room: room, main: main, limits: l.withDefaults(),
		byID: make(map[string]*poll), sent: make(map[string]*ballot),
	}
}

// Len is the number of polls.
func (b *Board) Len() int { return len(b.order) }

// Clear forgets all polls: main has none.
func (b *Board) Clear() {
	last := b.last // what is under way must not be taken for later messages
	*b = *NewBoard(b.room, b.main, b.limits)
	b.last = last
}

// Update takes main's polls, all of them, as JSON. Polls that are not among
// them are forgotten, though nobody can be told so. It returns how many were
// left out because of the limits. After an error nothing has changed.
func (b *Board) Update(text string) (left int, err error) {
	polls, left, err := parseList(text, &b.limits)
	if err != nil {
		return 0, err
	}
	order := make([]*poll, 0, len(polls))
	for i := range polls {
		in := &polls[i]
		p := b.byID[in.ID]
		if p == nil || !p.same(in) {
			p = newPoll(in)
			b.byID[p.id] = p
			b.news = append(b.news, item{poll: p})
			b.take(p, in, false)
		} else {
			b.take(p, in, true)
		}
		order = append(order, p)
	}
	b.order = order
	b.forgetOthers()
	b.old = nil
	return left, nil
}

func newPoll(in *pollJSON) *poll {
	p := &poll{id: in.ID, sender: in.Sender, senderName: in.SenderName, question: in.Question, byVoter: make(map[string]*ballot)}
	for _, a := range in.Answers {
		p.answers = append(p.answers, a.Name)
	}
	return p
}

func (p *poll) same(in *pollJSON) bool {
	return p.question == in.Question && slices.EqualFunc(p.answers, in.Answers, func(name string, a answerJSON) bool { return name == a.Name })
}

// take makes the ballots of p what main says they are; the changes are news if
// tell is set.
func (b *Board) take(p *poll, in *pollJSON, tell bool) {
	said := make(map[string][]bool)
	for i, a := range in.Answers {
		for _, v := range a.Voters {
			choices := said[v.ID]
			if choices == nil {
				if len(said) >= b.limits.Voters {
					continue
				}
				choices = make([]bool, len(p.answers))
				said[v.ID] = choices
				if p.byVoter[v.ID] == nil {
					p.add(v)
				}
			}
			choices[i] = true
		}
	}
	none := make([]bool, len(p.answers))
	for _, x := range p.ballots {
		choices := said[x.voter.ID]
		if choices == nil {
			choices = none
		}
		switch {
		case !slices.Equal(choices, x.choices):
			if x.own {
				continue // main's is older
			}
			x.choices = slices.Clone(choices)
			if tell {
				b.tell(x)
			}
		case x.own:
			b.confirmed(x)
		}
	}
}

// add puts an empty ballot of a new voter into p.
func (p *poll) add(v Voter) *ballot {
	x := &ballot{poll: p, voter: v, choices: make([]bool, len(p.answers))}
	p.ballots = append(p.ballots, x)
	p.byVoter[v.ID] = x
	return x
}

// tell puts a ballot among the news, once.
func (b *Board) tell(x *ballot) {
	x.again = false
	b.queue(x)
}

func (b *Board) queue(x *ballot) {
	if !x.waits {
		x.waits = true
		b.news = append(b.news, item{x.poll, x})
	}
}

// confirmed notes that main shows what was voted here.
func (b *Board) confirmed(x *ballot) {
	x.own, x.tries = false, 0
	delete(b.sent, x.id)
}

// forgetOthers drops what belongs to polls that are no more.
func (b *Board) forgetOthers() {
	gone := func(p *poll) bool { return b.byID[p.id] != p }
	keep := make(map[string]*poll, len(b.order))
	for _, p := range b.order {
		keep[p.id] = p
	}
	b.byID = keep
	b.news = slices.DeleteFunc(b.news, func(i item) bool { return gone(i.poll) })
	b.lost = slices.DeleteFunc(b.lost, func(x *ballot) bool { return gone(x.poll) })
	for id, x := range b.sent {
		if gone(x.poll) {
			delete(b.sent, id)
		}
	}
}

// Cast takes a vote of one of the node's visitors, in place of its earlier
// one. It is no news when it says the same. The error is [ErrNoPoll],
// [ErrChoices] or [ErrFull].
func (b *Board) Cast(who Voter, v Vote) error {
	p := b.byID[v.Poll]
	switch {
	case p == nil:
		return ErrNoPoll
	case len(v.Choices) > len(p.answers):
		return ErrChoices
	}
	x := p.byVoter[who.ID]
	if x == nil {
		if len(p.ballots) >= b.limits.Voters {
			return ErrFull
		}
		x = p.add(who)
	}
	choices := make([]bool, len(p.answers))
	copy(choices, v.Choices)
	if slices.Equal(choices, x.choices) {
		return nil
	}
	delete(b.sent, x.id)
	x.voter.Name, x.choices, x.own, x.tries = who.Name, choices, true, 0
	b.old = nil
	b.tell(x)
	return nil
}

// Waiting reports whether Next has something to return, and whether that is for
// main.
func (b *Board) Waiting() (some, toMain bool) {
	if len(b.news) == 0 {
		return false, false
	}
	x := b.news[0].ballot
	return true, x != nil && x.own
}

// Next returns the oldest news; false when there are none.
func (b *Board) Next() (n News, ok bool) {
	if len(b.news) == 0 {
		return News{}, false
	}
	i := b.news[0]
	if b.news = b.news[1:]; len(b.news) == 0 {
		b.news = nil // and its array
	}
	if i.ballot == nil {
		return News{Announce: b.created(i.poll)}, true
	}
	x := i.ballot
	x.waits = false
	if !x.again {
		n.Announce = b.answered(x, b.room)
	}
	if x.own {
		delete(b.sent, x.id)
		b.last++
		x.id = strconv.FormatUint(b.last, 10)
		b.sent[x.id] = x
		n.ToMain, n.MessageID = b.answered(x, b.main), x.id
	}
	return n, true
}

// maxTries bounds how often a vote is sent to main again.
const maxTries = 5

// Returned notes that a message to main came back: its vote is kept for
// [Board.Retry].
func (b *Board) Returned(id string) {
	x := b.sent[id]
	if x == nil {
		return
	}
	delete(b.sent, id)
	if x.tries++; x.tries <= maxTries {
		b.lost = append(b.lost, x)
	}
}

// Retry makes news again of the votes that main did not get.
func (b *Board) Retry() {
	for _, x := range b.lost {
		if x.own && !x.waits {
			x.again = true
			b.queue(x)
		}
	}
	b.lost = nil
}

// Old returns the JSON that tells one who joins of all polls; nil when there
// are none. It is the board's and does not change.
func (b *Board) Old() []byte {
	if b.old == nil && len(b.order) > 0 {
		l := list{Type: messageType, Command: commandOld}
		for _, p := range b.order {
			l.Polls = append(l.Polls, pollJSON{ID: p.id, Sender: p.sender, SenderName: p.senderName, Question: p.question, Answers: p.results()})
		}
		b.old = encode(l)
	}
	return b.old
}

// results are the answers with those who chose them.
func (p *poll) results() []answerJSON {
	list := make([]answerJSON, len(p.answers))
	for i, name := range p.answers {
		list[i].Name = name
	}
	for _, x := range p.ballots {
		for i, chosen := range x.choices {
			if chosen {
				list[i].Voters = append(list[i].Voters, x.voter)
			}
		}
	}
	return list
}

func (b *Board) created(p *poll) []byte {
	return encode(created{
		Type: messageType, Command: commandNew, Room: b.room,
		ID: p.id, Sender: p.sender, Question: p.question, Answers: p.results(),
	})
}

func (b *Board) answered(x *ballot, room string) []byte {
	return encode(answered{
		Type: messageType, Command: commandAnswer, Room: room,
		Poll: x.poll.id, ID: x.voter.ID, Name: x.voter.Name, Choices: x.choices,
	})
}
