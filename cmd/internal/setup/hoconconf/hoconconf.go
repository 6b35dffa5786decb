// Package hoconconf reads what a configuration in HOCON says, such as jicofo's, as
// far as others want to know: texts by their paths. The tool hocon takes a second for
// each question, and is not installed everywhere.
package hoconconf

import "strings"

// File is what a file says, with those that it includes. Arrays are passed over.
type File struct {
	values map[string]string
	unsure map[string]bool

	include  func(name string) string
	includes int // that were read
}

// maxIncludes bounds files that include themselves.
const maxIncludes = 100

// Read reads a file. include returns the text of an included one, "" for none. What
// Read does not understand it passes over.
func Read(text string, include func(name string) string) *File {
	f := &File{values: map[string]string{}, unsure: map[string]bool{}, include: include}
	f.file(text, "", 0)
	return f
}

// Value returns what is at a path, "" if nothing is. It is not sure of a value that
// depends on what only the program knows, such as its environment.
func (f *File) Value(path string) (text string, sure bool) { return f.values[path], !f.unsure[path] }

func (f *File) file(text, path string, depth int) {
	h := &scanner{text: text}
	h.skip(space + "{") // the braces of a file may be left out
	for h.peek() != 0 {
		f.object(h, path, depth)
	}
}

// maxObjects bounds objects in objects.
const maxObjects = 100

// object reads fields until the brace that ends the object.
func (f *File) object(h *scanner, path string, depth int) {
	for {
		h.skip(space + ",")
		key, sure := h.words("=:{+")
		switch {
		case h.peek() == 0 || key == "" && h.accept("}"):
			return
		case key == "":
			h.at++ // what no field begins with
		case !sure:
			h.value() // a key with a substitution: HOCON has none
		default:
			f.field(h, key, path, depth)
		}
	}
}

func (f *File) field(h *scanner, key, path string, depth int) {
	if name, ok := strings.CutPrefix(key, "include "); ok {
		if f.includes++; f.includes < maxIncludes && f.include != nil {
			f.file(f.include(includedName(name)), path, depth+1)
		}
		return
	}
	if path != "" {
		key = path + "." + key
	}
	appends := h.accept("+")
	if h.accept("=") || h.accept(":") {
		h.skip(space)
	}
	switch {
	case h.accept("{"):
		delete(f.values, key)
		if depth < maxObjects {
			f.object(h, key, depth+1)
		}
		return
	case appends:
		h.value()
		return
	}
	value, sure := h.value()
	if sure {
		f.values[key] = value
	}
	f.unsure[key] = !sure
}

// includedName is the name in file("x"), required(x) and the like.
func includedName(s string) string {
	for _, word := range []string{"required", "file", "classpath", "url"} {
		if rest, ok := strings.CutPrefix(s, word+"("); ok {
			s = strings.TrimSuffix(rest, ")")
		}
	}
	return s
}

const space = " \t\r\n\ufeff\u00a0"

// scanner splits a text in HOCON. It never fails.
type scanner struct {
	text string
	at   int
}

// peek returns the next byte, 0 at the end.
func (h *scanner) peek() byte {
	if h.at >= len(h.text) {
		return 0
	}
	return h.text[h.at]
}

func (h *scanner) accept(sign string) bool {
	if !strings.HasPrefix(h.text[h.at:], sign) {
		return false
	}
	h.at += len(sign)
	return true
}

// skip passes over signs and comments.
func (h *scanner) skip(signs string) {
	for {
		rest := h.text[h.at:]
		h.at = len(h.text) - len(strings.TrimLeft(rest, signs))
		if rest = h.text[h.at:]; !isComment(rest) {
			return
		}
		line, _, _ := strings.Cut(rest, "\n")
		h.at += len(line)
	}
}

func isComment(s string) bool { return strings.HasPrefix(s, "#") || strings.HasPrefix(s, "//") }

// value reads a value, to the end of its line. An array's is empty.
func (h *scanner) value() (text string, sure bool) {
	if h.peek() != '[' {
		return h.words("")
	}
	for depth := 0; h.peek() != 0; {
		h.skip(space + ",")
		switch h.peek() {
		case 0:
		case '[', '{':
			depth++
			h.at++
		case ']', '}':
			if depth--; depth == 0 {
				h.at++
				return "", true
			}
			h.at++
		default:
			before := h.at
			if h.words("[=:{"); h.at == before {
				h.at++
			}
		}
	}
	return "", true
}

// words reads strings, quoted or not, up to the end of the line, a comma, a closing
// bracket, or one of the signs in end; blanks around them do not count. It is not
// sure of what it read when there was a substitution.
func (h *scanner) words(end string) (text string, sure bool) {
	var b strings.Builder
	sure = true
	for {
		rest := h.text[h.at:]
		switch {
		case rest == "" || strings.ContainsRune("\n,}]"+end, rune(rest[0])) || isComment(rest):
			return strings.Trim(b.String(), space), sure
		case strings.HasPrefix(rest, "${"):
			sure = false
			_, after, _ := strings.Cut(rest, "}")
			h.at = len(h.text) - len(after)
		case strings.HasPrefix(rest, `"""`):
			inner, after, _ := strings.Cut(rest[3:], `"""`)
			b.WriteString(inner)
			h.at = len(h.text) - len(after)
		case rest[0] == '"':
			b.WriteString(h.quoted())
		default:
			b.WriteByte(rest[0])
			h.at++
		}
	}
}

// quoted reads a string of JSON, whose escapes stand for the byte behind them.
func (h *scanner) quoted() string {
	var b strings.Builder
	for h.at++; h.at < len(h.text); h.at++ {
		switch c := h.text[h.at]; c {
		case '"':
			h.at++
			return b.String()
		case '\n':
			return b.String()
		case '\\':
			if h.at+1 < len(h.text) {
				h.at++
				b.WriteByte(h.text[h.at])
			}
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}
