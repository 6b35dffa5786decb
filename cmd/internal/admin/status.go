package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"
)

// What a status holds at most of each; counts tell of the rest.
const (
	maxRooms     = 100
	maxSlow      = 20
	maxOccupants = 500 // of each kind, on a room's page
)

// statusTimeout bounds the wait for facts: a page that is told late is still
// told.
const statusTimeout = 2 * time.Second

// Status is everything the status page shows.
type Status struct {
	Now      time.Time `json:"now"`
	Identity Identity  `json:"node"`
	State    State     `json:"state"`
	Why      string    `json:"why"` // the reason for the state, "" for none
	Links    []Link    `json:"links"`
	Focus    Focus     `json:"focus"`

	// Trouble is what could not be found out, "" for nothing.
	Trouble string `json:"trouble"`

	Rooms        []Room `json:"rooms"` // those with most visitors
	RoomCount    int    `json:"roomCount"`
	Visitors     int    `json:"visitors"`
	Participants int    `json:"participants"`
	Queued       int    `json:"queued"`
	Held         int    `json:"held"` // visitors that wait until they can come back

	Rates    Rates          `json:"rates"`
	Latency  []Latency      `json:"latency"` // of each of the last seconds
	Sessions []SessionCount `json:"sessions"`
	Slow     []Slow         `json:"slow"` // the slowest
	SlowAll  int            `json:"slowCount"`
	Closes   []CloseCount   `json:"closes"`
	// ClosesSince is how many seconds Closes look back.
	ClosesSince int `json:"closesSince"`

	Debugged []DebugTarget `json:"debugged"`
	// Control: the node has an admin token, so something may be changed.
	Control bool `json:"control"`
	// People: the request bore it, so Slow and Debugged, which name
	// sessions, are told.
	People bool `json:"people"`
}

// public is the status for who is not told of people.
func (st Status) public() Status {
	st.People, st.Slow, st.Debugged = false, nil, nil
	return st
}

// status asks everybody. rates remembers what rooms had published before.
func (s *Server) status(ctx context.Context, rates *roomRates) Status {
	ctx, cancel := context.WithTimeout(ctx, statusTimeout)
	defer cancel()
	state, why := s.o.Health.Get()
	t := s.samples.trend()
	st := Status{
		Now: time.Now(), Identity: s.o.Identity, State: state, Why: why, Links: s.o.Source.Links(), Focus: s.o.Source.Focus(),
		Rates: t.rates, Latency: t.latency, Sessions: t.sessions, Closes: t.closes, ClosesSince: int(memory * interval / time.Second),
		Debugged: s.o.Source.Debugged(), Control: s.gate.Exists(), People: true,
	}
	rooms, err := s.o.Source.Rooms(ctx)
	if err == nil {
		rates.update(st.Now, rooms)
		st.count(rooms)
		st.Slow, st.SlowAll, err = s.o.Source.Slow(ctx, maxSlow)
	}
	if err != nil {
		st.Trouble = err.Error()
	}
	return st
}

// count takes the rooms in.
func (st *Status) count(rooms []Room) {
	st.RoomCount = len(rooms)
	for _, r := range rooms {
		st.Visitors += r.Visitors
		st.Participants += r.Participants
		st.Queued += r.Queued
		st.Held += r.Held
	}
	slices.SortStableFunc(rooms, func(a, b Room) int { return cmp.Compare(b.Visitors+b.Held, a.Visitors+a.Held) })
	st.Rooms = rooms[:min(len(rooms), maxRooms)]
}

// roomRates is how much each room had published when it was last looked at.
type roomRates struct {
	at     time.Time
	before map[string]uint64
}

// update fills in the rooms' rates.
func (r *roomRates) update(now time.Time, rooms []Room) {
	d := now.Sub(r.at).Seconds()
	next := make(map[string]uint64, len(rooms))
	for i := range rooms {
		room := &rooms[i]
		next[room.Address] = room.Stanzas
		if before, ok := r.before[room.Address]; ok && d > 0 && room.Stanzas >= before {
			room.Rate = float64(room.Stanzas-before) / d
		}
	}
	r.at, r.before = now, next
}

// encoded is the status for the event streams, made once for all of them.
func (s *Server) encoded(ctx context.Context) (whole, public []byte) {
	st := s.status(ctx, &s.hub.rates)
	whole, err := json.Marshal(st)
	if err == nil {
		public, err = json.Marshal(st.public())
	}
	if err != nil {
		s.o.Log.Error("cannot encode the status", "error", err)
	}
	return whole, public
}

// statusJSON answers GET /status.json, and with ?room= tells of that room.
// Rates need two looks and are only in the events.
func (s *Server) statusJSON(w http.ResponseWriter, r *http.Request) {
	name, people := r.URL.Query().Get("room"), s.gate.Bears(r)
	if name == "" {
		st := s.status(r.Context(), new(roomRates))
		if !people {
			st = st.public()
		}
		writeJSON(w, http.StatusOK, st)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), statusTimeout)
	defer cancel()
	d, err := s.room(ctx, name, people)
	if err != nil {
		writeJSON(w, http.StatusNotFound, problem{err.Error()})
		return
	}
	writeJSON(w, http.StatusOK, d)
}

// room is one room with as many occupants as a page can show; none of them, nor
// what they did, without people.
func (s *Server) room(ctx context.Context, name string, people bool) (RoomDetail, error) {
	d, err := s.o.Source.Room(ctx, name)
	if d.People = people; !people {
		d.Participants, d.Visitors, d.Events = nil, nil, nil
	}
	d.Participants = d.Participants[:min(len(d.Participants), maxOccupants)]
	d.Visitors = d.Visitors[:min(len(d.Visitors), maxOccupants)]
	return d, err
}
