package request

import (
	"bytes"
)

// MaxFields is how many header fields a [Head] can have.
const MaxFields = 48

// Head is a WebSocket handshake (RFC 6455 §4.1) in the form in which browsers,
// proxies and libraries send it. It refers to the memory it was parsed from.
type Head struct {
	// Key is that of Sec-WebSocket-Key, of the right length.
	Key []byte

	query  []byte // of the target, as it came
	all    [MaxFields]field
	fields []field // of all
}

type field struct{ name, value []byte }

// Verdict is what is known of a connection's first bytes.
type Verdict uint8

const (
	// Incomplete: more bytes are needed to tell.
	Incomplete Verdict = iota
	// Handshake: a head is complete, and a handshake that nobody can understand
	// in two ways.
	Handshake
	// Other: anything else, good or bad. A complete HTTP server knows which.
	Other
)

// Parse reads the head at the beginning of b, and returns its length if it is a
// handshake for path, with or without a slash behind it, and the subprotocol. It is no HTTP parser: it knows the one
// form of request that comes by the thousand, and gives up at whatever is
// unusual, be it allowed or not: a body, line ends other than CRLF, folded lines,
// a repeated Host, bytes that are not ASCII. So it never has to say what is
// wrong, and there is nothing that a proxy in front of it reads differently.
func (h *Head) Parse(b []byte, path, subprotocol string) (n int, v Verdict) {
	switch v := beginning(b, path); v {
	case Handshake:
	default:
		return 0, v
	}
	end := bytes.Index(b, []byte("\r\n\r\n"))
	if end < 0 {
		if bareLF(b) {
			return 0, Other // others may read a complete head here
		}
		return 0, Incomplete
	}
	line, lines, _ := bytes.Cut(b[:end+2], []byte("\r\n"))
	if !h.target(line[len("GET ")+len(path):]) || !h.read(lines) || !h.asks(subprotocol) {
		return 0, Other
	}
	return end + 4, Handshake
}

// beginning looks at method and path: Handshake says that they are right.
func beginning(b []byte, path string) Verdict {
	const method = "GET "
	for i, c := range b[:min(len(b), len(method)+len(path))] {
		if i < len(method) && c != method[i] || i >= len(method) && c != path[i-len(method)] {
			return Other
		}
	}
	rest := bytes.TrimPrefix(b[min(len(b), len(method)+len(path)):], slash)
	switch {
	case len(rest) == 0:
		return Incomplete
	case rest[0] != ' ' && rest[0] != '?':
		return Other
	}
	return Handshake
}

// slash may end the path, as proxies and people write it.
var slash = []byte("/")

func bareLF(b []byte) bool {
	for i, c := range b {
		if c == '\n' && (i == 0 || b[i-1] != '\r') {
			return true
		}
	}
	return false
}

// target reads what is behind the path in the request line.
func (h *Head) target(b []byte) bool {
	h.query = nil
	b = bytes.TrimPrefix(b, slash)
	if b[0] == '?' {
		i := bytes.IndexByte(b, ' ')
		if i < 0 {
			return false
		}
		h.query, b = b[1:i], b[i:]
	}
	for _, c := range h.query {
		if c <= ' ' || c >= 0x7F {
			return false
		}
	}
	return string(b) == " HTTP/1.1"
}

// read takes lines apart, of which each ends with CRLF.
func (h *Head) read(lines []byte) bool {
	h.fields = h.all[:0]
	for len(lines) > 0 {
		line, rest, _ := bytes.Cut(lines, []byte("\r\n"))
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || !isToken(name) || !isText(value) || len(h.fields) == MaxFields {
			return false
		}
		h.fields = append(h.fields, field{name, bytes.Trim(value, " \t")})
		lines = rest
	}
	return true
}

// isToken reports whether b is a field's name (RFC 9110 §5.6.2).
func isToken(b []byte) bool {
	for _, c := range b {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '_':
		default: // the other signs that are allowed, nobody uses
			return false
		}
	}
	return len(b) > 0
}

// isText reports whether b is a field's value (RFC 9110 §5.5), of ASCII.
func isText(b []byte) bool {
	for _, c := range b {
		if c < ' ' && c != '\t' || c >= 0x7F {
			return false
		}
	}
	return true
}

// asks reports whether the fields are those of a handshake, and nothing else
// could be meant.
func (h *Head) asks(subprotocol string) bool {
	var hosts, keys, versions int
	var connection, upgrade, protocol bool
	for _, f := range h.fields {
		switch {
		case f.is("Host"):
			hosts++
			if !isHost(f.value) {
				return false
			}
		case f.is("Connection"):
			connection = connection || lists(f.value, "upgrade", true)
		case f.is("Upgrade"):
			upgrade = upgrade || lists(f.value, "websocket", true)
		case f.is("Sec-WebSocket-Key"):
			keys++
			h.Key = f.value
		case f.is("Sec-WebSocket-Version"):
			versions++
			if string(f.value) != "13" {
				return false
			}
		case f.is("Sec-WebSocket-Protocol"):
			protocol = protocol || lists(f.value, subprotocol, false)
		case f.is("Content-Length"), f.is("Transfer-Encoding"), f.is("Expect"), f.is("Trailer"):
			return false
		}
	}
	return hosts == 1 && keys == 1 && versions == 1 && connection && upgrade && protocol && isKey(h.Key)
}

// isHost keeps to names and addresses, with a port.
func isHost(b []byte) bool {
	for _, c := range b {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '-', c == '.', c == ':', c == '[', c == ']', c == '_':
		default:
			return false
		}
	}
	return len(b) > 0
}

// isKey reports whether b is 16 bytes in base64.
func isKey(b []byte) bool {
	if len(b) != 24 || string(b[22:]) != "==" {
		return false
	}
	for _, c := range b[:22] {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '+', c == '/':
		default:
			return false
		}
	}
	return true
}

// lists reports whether a list (RFC 9110 §5.6.1) holds the token.
func lists(b []byte, token string, fold bool) bool {
	for len(b) > 0 {
		item, rest, _ := bytes.Cut(b, []byte(","))
		if item = bytes.Trim(item, " \t"); string(item) == token || fold && isFold(item, token) {
			return true
		}
		b = rest
	}
	return false
}

func (f *field) is(name string) bool { return isFold(f.name, name) }

// isFold compares ASCII without case.
func isFold(b []byte, s string) bool {
	if len(b) != len(s) {
		return false
	}
	for i, c := range b {
		if c != s[i] && (c|0x20 != s[i]|0x20 || c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}

// Has reports whether there is such a field.
func (h *Head) Has(name string) bool {
	for _, f := range h.fields {
		if f.is(name) {
			return true
		}
	}
	return false
}

// values implements said.
func (h *Head) values(name string) (all []string) {
	for _, f := range h.fields {
		if f.is(name) {
			all = append(all, string(f.value))
		}
	}
	return all
}

// Param returns a parameter of the query as url.Values.Get does: its first value,
// empty if there is none or if it cannot be decoded.
func (h *Head) Param(name string) string { return param(h.query, name) }
