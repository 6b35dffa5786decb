package room

import (
	"encoding/json"
	"strconv"
	"strings"
	"unicode/utf16"

	"vnode/internal/wire"
)

// JSON messages of visitors. Clients take those of an unknown sender for a
// service's: transcriptions, system messages, news of the lobby. So only what
// visitors' pages send themselves passes.

// visitorsTypes are the values of "type" and "name" that pass; "" is for a message
// without.
var visitorsTypes = map[string]bool{
	"": true, "endpoint-reaction": true, "endpoint-text-message": true, "e2e-ping-request": true, "e2e-ping-response": true,
}

// mucType is the member by which clients tell what component speaks.
const mucType = "jitsi-meet-muc-type"

// harmlessJSON reports whether a visitor may say the text of a <json-message/>, as a
// client reads it: it undoes percent escapes first, and of members with the same
// name takes the last.
func harmlessJSON(text string) bool {
	var members map[string]json.RawMessage
	if json.Unmarshal([]byte(unescapePercent(text)), &members) != nil {
		return false
	}
	for _, name := range []string{"type", "name", mucType} {
		raw, ok := members[name]
		if !ok {
			continue
		}
		var value string
		if json.Unmarshal(raw, &value) != nil || !visitorsTypes[value] {
			return false
		}
	}
	return true
}

// unescapePercent is JavaScript's unescape: %XX and %uXXXX are UTF-16 code units.
func unescapePercent(s string) string {
	if !strings.Contains(s, "%") {
		return s
	}
	units := utf16.Encode([]rune(s))
	out := units[:0]
	hex := func(from, n int) (uint16, bool) {
		if from+n > len(units) {
			return 0, false
		}
		v, err := strconv.ParseUint(string(utf16.Decode(units[from:from+n])), 16, 16)
		return uint16(v), err == nil
	}
	for i := 0; i < len(units); i++ {
		if units[i] == '%' {
			if v, ok := hex(i+1, 2); ok {
				out, i = append(out, v), i+2
				continue
			}
			if i+1 < len(units) && units[i+1] == 'u' {
				if v, ok := hex(i+2, 4); ok {
					out, i = append(out, v), i+5
					continue
				}
			}
		}
		out = append(out, units[i])
	}
	return string(utf16.Decode(out))
}

// saysJSON reports whether a child is one that clients read as a JSON message.
func saysJSON(c *wire.Child) bool { return c.Local == "json-message" }
