// Package files keeps the list of files that participants of one main room
// share. A visitor node shows it to visitors, who only read. The files
// themselves are with a service of their own.
//
// A [List] is a pure state machine without time and XML. Main tells the whole
// list each time; Update finds out what is new in it.
package files

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// Component is the type of the component's identity, and of its messages.
const Component = "file-sharing"

// Limits of a list. Zero values mean the defaults.
type Limits struct {
	Files int // default 500
	Bytes int // of all files' descriptions, in JSON; default 256 KiB
}

func (l Limits) withDefaults() Limits {
	if l.Files == 0 {
		l.Files = 500
	}
	if l.Bytes == 0 {
		l.Bytes = 256 << 10
	}
	return l
}

// File is a shared file as main describes it.
type File struct {
	ID   string
	JSON string // an object with the member fileId
}

// List is the shared files of one room. It belongs to one goroutine.
type List struct {
	// Static after construction.
	limits Limits

	files []entry // in the order they came
	list  []byte  // encoded; nil when it is to be made anew
}

type entry struct {
	id   string
	json json.RawMessage // compact
}

// NewList returns an empty list.
func NewList(l Limits) *List { return &List{limits: l.withDefaults()} }

// Len is the number of files.
func (l *List) Len() int { return len(l.files) }

// Update takes main's files, all of them, and returns what visitors are to be
// told, in JSON: removals first. left counts the files that are malformed or
// exceed the limits; they are not shown.
func (l *List) Update(files []File) (news [][]byte, left int) {
	fresh := make([]entry, 0, len(files))
	size := 0
	for _, f := range files {
		e, err := parse(f)
		size += len(e.json)
		if err != nil || len(fresh) >= l.limits.Files || size > l.limits.Bytes || find(fresh, e.id) >= 0 {
			size -= len(e.json)
			left++
			continue
		}
		fresh = append(fresh, e)
	}
	kept := make([]entry, 0, len(fresh))
	for _, e := range l.files {
		if i := find(fresh, e.id); i >= 0 {
			kept = append(kept, fresh[i])
			continue
		}
		news = append(news, encode(message{Type: Component, Event: "remove", ID: e.id}))
	}
	for _, e := range fresh {
		i := find(l.files, e.id)
		if i >= 0 && bytes.Equal(l.files[i].json, e.json) {
			continue
		}
		if i < 0 {
			kept = append(kept, e)
		}
		news = append(news, encode(message{Type: Component, Event: "add", File: e.json}))
	}
	if len(news) > 0 {
		l.list = nil
	}
	l.files = kept
	return news, left
}

// All returns the JSON that tells one who joins of all files; nil when there
// are none. It is the list's and does not change.
func (l *List) All() []byte {
	if l.list == nil && len(l.files) > 0 {
		files := make(map[string]json.RawMessage, len(l.files))
		for _, e := range l.files {
			files[e.id] = e.json
		}
		l.list = encode(message{Type: Component, Event: "list", Files: files})
	}
	return l.list
}

var errFile = errors.New("files: main's file is malformed")

// parse wants an object that names the file as main does: clients keep files
// by that member.
func parse(f File) (entry, error) {
	var o struct {
		ID string `json:"fileId"`
	}
	if err := json.Unmarshal([]byte(f.JSON), &o); err != nil {
		return entry{}, fmt.Errorf("%w: %w", errFile, err)
	}
	if f.ID == "" || o.ID != f.ID {
		return entry{}, fmt.Errorf("%w: fileId and id differ", errFile)
	}
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(f.JSON)); err != nil {
		return entry{}, fmt.Errorf("%w: %w", errFile, err)
	}
	return entry{f.ID, b.Bytes()}, nil
}

func find(list []entry, id string) int {
	return slices.IndexFunc(list, func(e entry) bool { return e.id == id })
}

// message is what the component tells.
type message struct {
	Type  string                     `json:"type"`
	Event string                     `json:"event"`
	File  json.RawMessage            `json:"file,omitempty"`
	ID    string                     `json:"fileId,omitempty"`
	Files map[string]json.RawMessage `json:"files,omitempty"`
}

// encode writes m without making '<' and '&' longer: the XML around it does.
func encode(m message) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(m); err != nil {
		panic("files: " + err.Error()) // its parts were parsed
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
