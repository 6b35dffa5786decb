package token

import (
	"encoding/json"
	"errors"
	"fmt"
)

// object is a JSON object whose members are found by their exact names. A struct
// would not do: encoding/json takes "ROOM" for "room", and a token for one room
// would open all. Of members with the same name the last one counts, as it does
// for the main Prosody.
type object map[string]json.RawMessage

var errNoObject = errors.New("not a JSON object")

// parseObject reads an object. The error says what is wrong with the JSON, or
// that it is something else.
func parseObject(b []byte) (object, error) {
	var o object
	if err := json.Unmarshal(b, &o); err != nil {
		return nil, err
	}
	if o == nil { // null
		return nil, errNoObject
	}
	return o, nil
}

// part returns a member that is an object, and nil, which has no members, for
// one of another type or none.
func (o object) part(name string) object {
	p, _ := parseObject(o[name])
	return p
}

// member returns a member that must have its type: nil when it is absent or null.
func member[T any](o object, name string) (*T, error) {
	raw, ok := o[name]
	if !ok {
		return nil, nil
	}
	var v *T
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return v, nil
}

// text returns a member that describes: a string, or a number or truth value in
// place of one. What is no text is empty.
func (o object) text(name string) string {
	raw := o[name]
	if len(raw) == 0 {
		return ""
	}
	switch raw[0] {
	case '"':
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return ""
		}
		return clean(s)
	case '{', '[', 'n':
		return ""
	}
	return clean(string(raw))
}

// flag reports whether a member is true, or the text "true".
func (o object) flag(name string) bool {
	raw := string(o[name])
	return raw == "true" || raw == `"true"`
}
