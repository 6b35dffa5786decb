package token

import (
	"errors"
	"regexp"
	"strings"
	"unicode/utf8"
)

// maxPattern bounds a room pattern, and with it what matching one costs.
const maxPattern = 256

var errPattern = errors.New("token: not a pattern this node understands")

// roomPattern compiles the pattern of a room claim. Jitsi's are Lua's: '%' is
// the escape and '-' the lazy repetition. The expression that comes of it is
// matched in linear time, and always against the whole name. Captures, balanced
// pairs, frontiers and back references, which mean nothing then, are refused.
func roomPattern(lua string) (*regexp.Regexp, error) {
	if len(lua) > maxPattern {
		return nil, errPattern
	}
	p := luaPattern{in: strings.TrimPrefix(lua, "^")}
	if body, ok := strings.CutSuffix(p.in, "$"); ok && (len(body)-len(strings.TrimRight(body, "%")))%2 == 0 {
		p.in = body // else the '$' is escaped
	}
	p.out.WriteString(`(?s)\A(?:`)
	for p.in != "" {
		if err := p.item(); err != nil {
			return nil, err
		}
	}
	p.out.WriteString(`)\z`)
	re, err := regexp.Compile(p.out.String())
	if err != nil {
		return nil, errPattern
	}
	return re, nil
}

type luaPattern struct {
	in  string // what is left
	out strings.Builder
}

// item translates one character, class or set, and its repetition.
func (p *luaPattern) item() error {
	r, n := utf8.DecodeRuneInString(p.in)
	p.in = p.in[n:]
	var err error
	switch r {
	case '(', ')', utf8.RuneError:
		err = errPattern
	case '.':
		p.out.WriteByte('.')
	case '%':
		err = p.escaped()
	case '[':
		err = p.set()
	default:
		p.out.WriteString(regexp.QuoteMeta(string(r)))
	}
	if err != nil {
		return err
	}
	p.repetition()
	return nil
}

func (p *luaPattern) repetition() {
	if p.in == "" {
		return
	}
	switch p.in[0] {
	case '*', '+', '?':
		p.out.WriteByte(p.in[0])
	case '-':
		p.out.WriteString("*?")
	default:
		return
	}
	p.in = p.in[1:]
}

// classes are Lua's, in lower case; in upper case they mean the others.
var classes = map[byte]string{
	'a': "[:alpha:]", 'c': "[:cntrl:]", 'd': "[:digit:]", 'g': "[:graph:]", 'l': "[:lower:]",
	'p': "[:punct:]", 's': "[:space:]", 'u': "[:upper:]", 'w': "[:alnum:]", 'x': "[:xdigit:]",
}

// escaped translates what stands behind a '%', outside a set. Room names are in
// lower case, and so is the pattern: its upper-case classes are gone.
func (p *luaPattern) escaped() error {
	if p.in == "" {
		return errPattern
	}
	c := p.in[0]
	p.in = p.in[1:]
	if class, ok := classes[c]; ok {
		p.out.WriteString("[" + class + "]")
		return nil
	}
	if isAlnum(c) || c >= utf8.RuneSelf { // %b, %f, %1
		return errPattern
	}
	p.out.WriteString(regexp.QuoteMeta(string(rune(c))))
	return nil
}

// set translates what stands behind a '['.
func (p *luaPattern) set() error {
	p.out.WriteByte('[')
	if strings.HasPrefix(p.in, "^") {
		p.out.WriteByte('^')
		p.in = p.in[1:]
	}
	for first := true; ; first = false {
		if p.in == "" {
			return errPattern
		}
		c := p.in[0]
		p.in = p.in[1:]
		switch {
		case c >= utf8.RuneSelf:
			return errPattern
		case c == ']' && !first:
			p.out.WriteByte(']')
			return nil
		case c == '-':
			p.out.WriteByte('-')
		case c != '%':
			p.out.WriteString(regexp.QuoteMeta(string(rune(c))))
		case p.in == "":
			return errPattern
		default:
			c, p.in = p.in[0], p.in[1:]
			if class, ok := classes[c]; ok {
				p.out.WriteString(class)
			} else if isAlnum(c) || c >= utf8.RuneSelf {
				return errPattern
			} else {
				p.out.WriteString(`\` + string(rune(c)))
			}
		}
	}
}

func isAlnum(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
