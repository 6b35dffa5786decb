package api

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"
)

// list answers GET rooms.
func (a *api) list(r *http.Request, _ bool) (any, error) {
	rooms, err := a.rooms.List(r.Context())
	if err != nil {
		return nil, err
	}
	visitors := 0
	for _, room := range rooms {
		visitors += room.Visitors
	}
	return struct {
		Visitors int    `json:"visitors"`
		Rooms    []Room `json:"rooms"`
	}{visitors, append([]Room{}, rooms...)}, nil
}

// How many visitors one answer lists.
const (
	usualPage   = 1000
	largestPage = 10000
)

// look answers GET rooms/{room}?offset=&limit=. People are only for who has the
// token.
func (a *api) look(r *http.Request, trusted bool) (any, error) {
	offset, err := number(r, "offset", 0, 1<<30)
	if err != nil {
		return nil, err
	}
	limit, err := number(r, "limit", usualPage, largestPage)
	if err != nil {
		return nil, err
	}
	room, people, err := a.rooms.Look(r.Context(), r.PathValue("room"))
	if err != nil {
		return nil, err
	}
	if !trusted {
		return room, nil
	}
	page := people.Visitors[min(offset, len(people.Visitors)):]
	return struct {
		Room
		Participants []Person `json:"participantList"`
		Visitors     []Person `json:"visitorList"`
	}{room, append([]Person{}, people.Participants...), append([]Person{}, page[:min(limit, len(page))]...)}, nil
}

// number reads a number of the query.
func number(r *http.Request, name string, usual, most int) (int, error) {
	text := r.URL.Query().Get(name)
	if text == "" {
		return usual, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 || n > most {
		return 0, fmt.Errorf("%w: %s: a number up to %d is wanted", ErrInvalid, name, most)
	}
	return n, nil
}

// end answers DELETE rooms/{room}.
func (a *api) end(r *http.Request, _ bool) (any, error) {
	var ask struct {
		Reason string `json:"reason"`
	}
	if err := read(r, &ask); err != nil {
		return nil, err
	}
	room := r.PathValue("room")
	if err := a.rooms.End(r.Context(), room, ask.Reason); err != nil {
		return nil, err
	}
	a.log.Info("the operator ended a room", "room", room, "peer", r.RemoteAddr)
	return nil, nil
}

// announce answers POST rooms/{room}/announcements.
func (a *api) announce(r *http.Request, _ bool) (any, error) {
	var ask struct {
		Speaker string `json:"speaker"`
		Text    string `json:"text"`
	}
	if err := read(r, &ask); err != nil {
		return nil, err
	}
	if ask.Text == "" || len(ask.Text) > maxText || len(ask.Speaker) > maxSpeaker {
		return nil, fmt.Errorf("%w: a text of at most %d bytes is wanted, of a speaker of at most %d", ErrInvalid, maxText, maxSpeaker)
	}
	room := r.PathValue("room")
	n, err := a.rooms.Announce(r.Context(), room, ask.Speaker, ask.Text)
	if err != nil {
		return nil, err
	}
	a.log.Info("the operator told a room something", "room", room, "peer", r.RemoteAddr)
	return struct {
		Visitors int `json:"visitors"`
	}{n}, nil
}

const (
	maxText    = 4096
	maxSpeaker = 256
)

// kick answers DELETE rooms/{room}/visitors/{visitor}.
func (a *api) kick(r *http.Request, _ bool) (any, error) {
	var ask struct {
		Reason string `json:"reason"`
	}
	if err := read(r, &ask); err != nil {
		return nil, err
	}
	room, visitor := r.PathValue("room"), r.PathValue("visitor")
	if err := a.rooms.Kick(r.Context(), room, visitor, ask.Reason); err != nil {
		return nil, err
	}
	a.log.Info("the operator kicked a visitor", "room", room, "visitor", visitor, "peer", r.RemoteAddr)
	return nil, nil
}

// bans answers GET bans.
func (a *api) bans(*http.Request, bool) (any, error) {
	return struct {
		Bans []Ban `json:"bans"`
	}{append([]Ban{}, a.rooms.Bans()...)}, nil
}

// How long a ban lasts.
const (
	usualBan   = time.Hour
	longestBan = 30 * 24 * time.Hour
)

// ban answers POST bans.
func (a *api) ban(r *http.Request, _ bool) (any, error) {
	ask := BanOrder{For: Duration(usualBan)}
	if err := read(r, &ask); err != nil {
		return nil, err
	}
	switch d := time.Duration(ask.For); {
	case ask.Room == "" || ask.Visitor == "":
		return nil, fmt.Errorf("%w: room and visitor are to be named", ErrInvalid)
	case d < time.Second || d > longestBan:
		return nil, fmt.Errorf("%w: for: between 1s and %s", ErrInvalid, longestBan)
	}
	ban, err := a.rooms.Ban(r.Context(), ask)
	if err != nil {
		return nil, err
	}
	a.log.Info("the operator banned a visitor", "room", ask.Room, "visitor", ask.Visitor, "ban", ban.ID, "until", ban.Until, "peer", r.RemoteAddr)
	return ban, nil
}

// unban answers DELETE bans/{ban}.
func (a *api) unban(r *http.Request, _ bool) (any, error) {
	id, err := strconv.ParseUint(r.PathValue("ban"), 10, 64)
	if err != nil || !a.rooms.Unban(id) {
		return nil, fmt.Errorf("%w: ban %.32q", ErrNotFound, r.PathValue("ban"))
	}
	a.log.Info("the operator ended a ban", "ban", id, "peer", r.RemoteAddr)
	return nil, nil
}

// limits answers GET limits.
func (a *api) limits(*http.Request, bool) (any, error) { return a.rooms.Limits(), nil }

// setLimits answers PATCH limits, a JSON merge patch.
func (a *api) setLimits(r *http.Request, _ bool) (any, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the body: %w", err)
	}
	l, err := a.rooms.ChangeLimits(func(l *Limits) error { return l.patch(body) })
	if err != nil {
		return nil, err
	}
	a.log.Info("the operator changed limits", "limits", string(body), "peer", r.RemoteAddr)
	return l, nil
}
