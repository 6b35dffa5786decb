// Package nginxconf reads what nginx reads: its configuration and all files that
// this includes. It names the places of what matters to a visitor node: upstreams,
// the map of ?vnode=, the locations of the WebSocket.
package nginxconf

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	crossplane "github.com/nginxinc/nginx-go-crossplane"
)

// Config is a configuration as nginx sees it.
type Config struct {
	// Errors are what could not be read, in words. The rest was.
	Errors []string

	from  Source
	files []crossplane.Config
}

// Source is where Load gets files from.
type Source struct {
	// Root stands for /. Paths of the configuration may lie below it or not.
	Root string
	// Read returns the text of a file; nil: the file as it is. A file of which it
	// says fs.ErrNotExist does not count.
	Read func(path string) (string, error)
}

// Place is a directive's.
type Place struct {
	Path string // of the file, a link's target
	Line int
}

// Load reads the configuration in the file path and what it includes.
func Load(path string, from Source) (*Config, error) {
	if from.Read == nil {
		from.Read = func(path string) (string, error) {
			b, err := os.ReadFile(path)
			return string(b), err
		}
	}
	c := &Config{from: from}
	lua := &crossplane.Lua{}
	payload, err := crossplane.Parse(path, &crossplane.ParseOptions{
		// Modules of others have directives that nobody else knows.
		SkipDirectiveContextCheck: true, SkipDirectiveArgsCheck: true,
		Open: c.open, Glob: c.glob,
		LexOptions: crossplane.LexOptions{Lexers: []crossplane.RegisterLexer{lua.RegisterLexer()}},
	})
	if err != nil {
		return nil, err
	}
	c.files = payload.Config
	for _, e := range payload.Errors {
		c.Errors = append(c.Errors, e.Error.Error())
	}
	return c, nil
}

func (c *Config) open(path string) (io.ReadCloser, error) {
	text, err := c.from.Read(realPath(c.below(path)))
	if os.IsNotExist(err) && exists(c.below(path)) {
		text, err = "", nil
	}
	if err != nil {
		return nil, err
	}
	return io.NopCloser(strings.NewReader(text)), nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func (c *Config) glob(pattern string) ([]string, error) {
	all, err := filepath.Glob(c.below(pattern))
	return slices.DeleteFunc(all, func(path string) bool {
		_, err := os.Stat(path)
		return err != nil // a link that leads nowhere is nginx's to complain about
	}), err
}

// below is where a path of the configuration is.
func (c *Config) below(path string) string {
	root := filepath.Join("/", c.from.Root)
	if root == "/" || path == root || strings.HasPrefix(path, root+"/") {
		return path
	}
	return filepath.Join(root, path)
}

// realPath is a link's target.
func realPath(path string) string {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		return real
	}
	return path
}

// Files are the paths of all files that were read, links resolved.
func (c *Config) Files() (all []string) {
	for _, f := range c.files {
		if path := realPath(c.below(f.File)); !slices.Contains(all, path) {
			all = append(all, path)
		}
	}
	return all
}

// walk calls f for every directive, those inside blocks after the block's own.
func (c *Config) walk(f func(Place, *crossplane.Directive)) {
	for _, file := range c.files {
		path := realPath(c.below(file.File))
		var each func(all crossplane.Directives)
		each = func(all crossplane.Directives) {
			for _, d := range all {
				f(Place{path, d.Line}, d)
				each(d.Block)
			}
		}
		each(file.Parsed)
	}
}

// Upstream is an upstream with its first server.
type Upstream struct {
	Place
	Name, Server string
}

// Upstreams are all of them.
func (c *Config) Upstreams() (all []Upstream) {
	c.walk(func(p Place, d *crossplane.Directive) {
		if d.Directive != "upstream" || len(d.Args) != 1 {
			return
		}
		u := Upstream{Place: p, Name: d.Args[0]}
		for _, s := range d.Block {
			if s.Directive == "server" && len(s.Args) > 0 {
				u.Server = s.Args[0]
				break
			}
		}
		all = append(all, u)
	})
	return all
}

// Map is a map of a variable to another one.
type Map struct {
	Place
	Variable string            // the other one, without $
	Entries  map[string]string // those of included files too
}

// MapOf returns the map of a variable, written without $.
func (c *Config) MapOf(variable string) (m Map, ok bool) {
	c.walk(func(p Place, d *crossplane.Directive) {
		if ok || d.Directive != "map" || len(d.Args) != 2 || plain(d.Args[0]) != variable {
			return
		}
		m, ok = Map{Place: p, Variable: plain(d.Args[1]), Entries: map[string]string{}}, true
		c.entries(d.Block, filepath.Dir(p.Path), m.Entries, 0)
	})
	return m, ok
}

// plain is a variable's name: $name or ${name}.
func plain(variable string) string {
	name := strings.TrimPrefix(variable, "$")
	return strings.TrimSuffix(strings.TrimPrefix(name, "{"), "}")
}

// maxIncludes bounds maps that include themselves.
const maxIncludes = 8

// entries collects what a map's block says. Included files hold entries alone.
func (c *Config) entries(block crossplane.Directives, dir string, into map[string]string, depth int) {
	for _, e := range block {
		switch {
		case e.Directive == "include" && len(e.Args) == 1 && depth < maxIncludes:
			c.included(e.Args[0], into, depth)
		case len(e.Args) == 1:
			into[strings.TrimPrefix(e.Directive, `\`)] = e.Args[0]
		}
	}
}

func (c *Config) included(pattern string, into map[string]string, depth int) {
	if !filepath.IsAbs(pattern) { // relative to the configuration's own directory
		pattern = filepath.Join(filepath.Dir(c.files[0].File), pattern)
	}
	paths, err := c.glob(pattern)
	if err != nil {
		return
	}
	for _, path := range paths {
		payload, err := crossplane.Parse(path, &crossplane.ParseOptions{
			SingleFile: true, SkipDirectiveContextCheck: true, SkipDirectiveArgsCheck: true, Open: c.open,
		})
		if err != nil {
			c.Errors = append(c.Errors, err.Error())
			continue
		}
		c.entries(payload.Config[0].Parsed, filepath.Dir(path), into, depth+1)
	}
}

// Location is a location that leads somewhere else.
type Location struct {
	Place
	Match     string   // what it is for
	ProxyPass string   // "" without one
	Rewrites  []string // the targets of its rewrites
}

// Locations are those whose match contains part.
func (c *Config) Locations(part string) (all []Location) {
	c.walk(func(p Place, d *crossplane.Directive) {
		if d.Directive != "location" || len(d.Args) == 0 || !strings.Contains(d.Args[len(d.Args)-1], part) {
			return
		}
		l := Location{Place: p, Match: d.Args[len(d.Args)-1]}
		for _, s := range d.Block {
			switch {
			case s.Directive == "proxy_pass" && len(s.Args) == 1:
				l.ProxyPass = s.Args[0]
			case s.Directive == "rewrite" && len(s.Args) > 1:
				l.Rewrites = append(l.Rewrites, s.Args[1])
			}
		}
		all = append(all, l)
	})
	return all
}

// Text returns the text of a file, as the source has it.
func (c *Config) Text(path string) (string, error) { return c.from.Read(path) }

// ErrNoBlock says that a text has no such block.
var ErrNoBlock = fs.ErrNotExist

// Inside returns the byte of text behind the brace that opens the block of a
// directive with these words. A word that is a variable may be in braces.
func Inside(text string, words ...string) (int, error) {
	s := scanner{text: text}
	var statement []string
	for t := s.next(); t.kind != 0; t = s.next() {
		switch t.kind {
		case ';', '}':
			statement = nil
		case '{':
			if slices.Equal(statement, words) {
				return s.at, nil
			}
			statement = nil
		default:
			statement = append(statement, bare(t.text))
		}
	}
	return 0, ErrNoBlock
}

func bare(word string) string {
	if strings.HasPrefix(word, "${") && strings.HasSuffix(word, "}") {
		return "$" + plain(word)
	}
	return word
}

// token is a word, or one of the signs ; { }.
type token struct {
	kind byte // 'w', or the sign
	text string
}

// scanner splits a text as nginx does, and knows where it is.
type scanner struct {
	text string
	at   int
}

func (s *scanner) next() token {
	for s.at < len(s.text) {
		switch b := s.text[s.at]; {
		case b == ' ' || b == '\t' || b == '\r' || b == '\n':
			s.at++
		case b == '#':
			line, _, _ := strings.Cut(s.text[s.at:], "\n")
			s.at += len(line)
		case b == ';' || b == '{' || b == '}':
			s.at++
			return token{b, ""}
		case b == '"' || b == '\'':
			return s.quoted(b)
		default:
			return s.word()
		}
	}
	return token{}
}

func (s *scanner) quoted(quote byte) token {
	var b strings.Builder
	for s.at++; s.at < len(s.text) && s.text[s.at] != quote; s.at++ {
		if s.text[s.at] == '\\' && s.at+1 < len(s.text) {
			s.at++
		}
		b.WriteByte(s.text[s.at])
	}
	s.at++
	return token{'w', b.String()}
}

func (s *scanner) word() token {
	begin := s.at
	for ; s.at < len(s.text); s.at++ {
		switch b := s.text[s.at]; {
		case b == '\\':
			s.at++
		case b == '$' && strings.HasPrefix(s.text[s.at:], "${"):
			name, _, ok := strings.Cut(s.text[s.at:], "}")
			if ok {
				s.at += len(name)
			}
		case strings.IndexByte(" \t\r\n;{}", b) >= 0:
			return token{'w', s.text[begin:s.at]}
		}
	}
	s.at = min(s.at, len(s.text))
	return token{'w', s.text[begin:s.at]}
}
