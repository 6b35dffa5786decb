// Package prosodyconf reads what a configuration of Prosody says, with the places,
// so that others can name a line or put something into a list. It runs the
// configuration, a program in Lua, as Prosody would, and scans its text for where
// the tables are that the program assigns.
package prosodyconf

import (
	"regexp"
	"slices"
	"strings"
)

// File is a configuration file: Lua with assignments between VirtualHost and
// Component statements.
type File struct {
	Path    string
	Text    string
	Options []Option // in the order in which they are made
	Hosts   []Host
	// Err says why the file could not be run. Then Options and Hosts are what the
	// text looks like: what a program would compute is not seen.
	Err error

	includes []string // patterns that the text includes by their names
}

// Option is one assignment.
type Option struct {
	Host  string // "" in the global section
	Name  string
	Line  int
	Value string // a plain string's
	// Order is higher for an assignment that was made later, in whatever file.
	Order int
	// A table lies between the bytes Open and End of the text, its braces
	// excluded; Open is 0 for what is no table, or is computed.
	Open, End int

	lastLine int
	unsure   bool      // the scanner does not know the host: it has no plain name
	contents *contents // nil for what is no table, or was not run
}

// IsTable reports whether the option is a table, written down or computed.
func (o *Option) IsTable() bool { return o.contents != nil || o.Open > 0 }

// Entry returns the value of a key of a table as text, a table's values separated
// by spaces; "" without that key, or when the file could not be run.
func (o *Option) Entry(key string) string {
	if o.contents == nil {
		return ""
	}
	return o.contents.values[key]
}

// Host is a VirtualHost or a Component.
type Host struct {
	Name, Module string
	Component    bool
	Line         int
}

// token is a name, a string (with its value) or a sign.
type token struct {
	kind       byte // 'n', 's', or the sign itself
	text       string
	start, end int
}

// Parse reads a file for itself; what it includes is not there. It never fails.
func Parse(path, text string) *File {
	all, _ := Load(path, Source{ // the source has no errors
		Read: func(string) (string, string, bool, error) { return text, path, false, nil },
		Glob: func(string) []string { return nil },
	})
	return all[0]
}

// scan reads a file's text. What it does not understand it passes over.
func scan(path, text string) *File {
	f, line := &File{Path: path, Text: text}, lineOf(text)
	s := scanner{text: text}
	var tokens []token
	for t := s.next(); t.kind != 0; t = s.next() {
		tokens = append(tokens, t)
	}
	host, unsure := "", false
	for i := 0; i < len(tokens); i++ {
		t, after := tokens[i], tokens[i+1:]
		switch {
		case t.kind == 'n' && isHostWord(t.text) && startsWith(after, "(s"):
			h := Host{Name: prepared(after[1].text), Component: strings.EqualFold(t.text, "component"), Line: line(t.start)}
			i = closing(tokens, i+1)
			if startsWith(tokens[i+1:], "s") {
				i++
				h.Module = tokens[i].text
			}
			f.Hosts = append(f.Hosts, h)
			host, unsure = h.Name, false
		case t.kind == 'n' && isHostWord(t.text) && startsWith(after, "("):
			unsure = true
		case t.kind == 'n' && isHostWord(t.text) && startsWith(after, "s"):
			h := Host{Name: prepared(after[0].text), Component: strings.EqualFold(t.text, "component"), Line: line(t.start)}
			i++
			if startsWith(after, "ss") {
				h.Module = after[1].text
				i++
			}
			f.Hosts = append(f.Hosts, h)
			host, unsure = h.Name, false
		case t.kind == 'n' && strings.EqualFold(t.text, "include") && (startsWith(after, "s") || startsWith(after, "(s")):
			if i++; tokens[i].kind == '(' {
				i++
			}
			f.includes = append(f.includes, tokens[i].text)
		case t.kind == 'n' && startsWith(after, "="):
			o := Option{Host: host, Name: t.text, Line: line(t.start), unsure: unsure}
			i++
			if startsWith(after, "=s") {
				o.Value = after[1].text
			}
			if startsWith(after, "={") {
				last := closing(tokens, i+1)
				o.Open, o.End = after[1].end, tokens[last].start
				if tokens[last].kind != '}' { // it has no end
					o.End = len(text)
				}
				i = last
			}
			o.lastLine = line(tokens[min(i+1, len(tokens)-1)].start)
			f.Options = append(f.Options, o)
		case t.kind == '{' || t.kind == '(':
			i = closing(tokens, i)
		}
	}
	return f
}

func isHostWord(s string) bool {
	return strings.EqualFold(s, "virtualhost") || strings.EqualFold(s, "host") || strings.EqualFold(s, "component")
}

func startsWith(tokens []token, kinds string) bool {
	for i := range len(kinds) {
		if i >= len(tokens) || tokens[i].kind != kinds[i] {
			return false
		}
	}
	return true
}

// closing is the index of the brace that ends what the one at i begins, or of
// the last token.
func closing(tokens []token, i int) int {
	depth := 0
	for ; i < len(tokens); i++ {
		switch tokens[i].kind {
		case '{', '(':
			depth++
		case '}', ')':
			if depth--; depth == 0 {
				return i
			}
		}
	}
	return len(tokens) - 1
}

// lineOf returns the number of the line with the byte at a place of the text.
func lineOf(text string) func(at int) int {
	var ends []int
	for i := range len(text) {
		if text[i] == '\n' {
			ends = append(ends, i)
		}
	}
	return func(at int) int { n, _ := slices.BinarySearch(ends, at); return n + 1 }
}

// Option returns the last assignment, which is the one that counts.
func (f *File) Option(host, name string) (Option, bool) {
	for i := len(f.Options) - 1; i >= 0; i-- {
		if o := f.Options[i]; o.Host == host && o.Name == name {
			return o, true
		}
	}
	return Option{}, false
}

// Host returns a VirtualHost or Component by its name.
func (f *File) Host(name string) (Host, bool) {
	for _, h := range f.Hosts {
		if h.Name == name {
			return h, true
		}
	}
	return Host{}, false
}

// Last returns the assignment of an option that counts, among all files, and its
// file.
func Last(all []*File, host, name string) (in *File, last Option, ok bool) {
	for _, f := range all {
		if o, found := f.Option(host, name); found && (!ok || o.Order >= last.Order) {
			in, last, ok = f, o, true
		}
	}
	return in, last, ok
}

// Strings are the strings in a table, at any depth, whether keys or values.
func (f *File) Strings(o Option) map[string]bool {
	if o.contents != nil {
		return o.contents.strings
	}
	set := map[string]bool{}
	s := scanner{text: f.Text[o.Open:o.End]}
	for t := s.next(); t.kind != 0; t = s.next() {
		if t.kind == 's' {
			set[t.text] = true
		}
	}
	return set
}

// Records are the tables in a table, as name = value; values are strings,
// numbers and names alike.
func (f *File) Records(o Option) (all []map[string]string) {
	if o.contents != nil {
		return o.contents.records
	}
	s := scanner{text: f.Text[o.Open:o.End]}
	var record map[string]string
	var last [2]token
	for t := s.next(); t.kind != 0; t = s.next() {
		switch {
		case t.kind == '{':
			record = map[string]string{}
		case t.kind == '}' && record != nil:
			all, record = append(all, record), nil
		case record != nil && last[1].kind == '=' && last[0].kind == 'n':
			record[last[0].text] = t.text
		}
		last[0], last[1] = last[1], t
	}
	return all
}

// scanner splits Lua into tokens; comments are left out. It never fails:
// what it does not know is a sign.
type scanner struct {
	text string
	at   int
}

var nameOrNumber = regexp.MustCompile(`^(?:[A-Za-z_][A-Za-z0-9_]*|[0-9][0-9A-Za-z.]*)`)

func (s *scanner) next() token {
	for s.at < len(s.text) {
		rest := s.text[s.at:]
		switch {
		case strings.ContainsRune(" \t\r\n", rune(rest[0])):
			s.at++
		case strings.HasPrefix(rest, "--"):
			s.comment(rest)
		default:
			return s.token(rest)
		}
	}
	return token{}
}

func (s *scanner) comment(rest string) {
	if n, _, ok := longBracket(rest[2:]); ok {
		s.at += 2 + n
		return
	}
	line, _, _ := strings.Cut(rest, "\n")
	s.at += len(line)
}

func (s *scanner) token(rest string) token {
	t := token{kind: rest[0], text: rest[:1], start: s.at}
	n := 1
	switch {
	case rest[0] == '"' || rest[0] == '\'':
		t.kind = 's'
		t.text, n = quoted(rest)
	case rest[0] == '[':
		if length, text, ok := longBracket(rest); ok {
			t.kind, t.text, n = 's', text, length
		}
	default:
		if name := nameOrNumber.FindString(rest); name != "" {
			t.kind, t.text, n = 'n', name, len(name)
		}
	}
	s.at += n
	t.end = s.at
	return t
}

// quoted reads a string up to its quotation mark. Escapes but those of quotes
// and backslashes are kept as they are: domains and modules have none.
func quoted(s string) (value string, length int) {
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == s[0]:
			return b.String(), i + 1
		case s[i] == '\\' && i+1 < len(s) && strings.IndexByte(`\"'`, s[i+1]) >= 0:
			i++
		case s[i] == '\n':
			return b.String(), i
		}
		b.WriteByte(s[i])
	}
	return b.String(), len(s)
}

// longBracket reads [[…]] and [=[…]=].
func longBracket(s string) (length int, value string, ok bool) {
	if len(s) < 2 || s[0] != '[' {
		return 0, "", false
	}
	level := strings.TrimLeft(s[1:], "=")
	equals := len(s) - 1 - len(level)
	if !strings.HasPrefix(level, "[") {
		return 0, "", false
	}
	begin := equals + 2
	end := strings.Index(s[begin:], "]"+strings.Repeat("=", equals)+"]")
	if end < 0 {
		return len(s), s[begin:], true
	}
	return begin + end + equals + 2, s[begin : begin+end], true
}
