package hostile

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// Generate returns n stanzas near the border of what everybody can read, always
// the same for a seed: valid ones, such as break a rule, and some that are not
// well-formed.
func Generate(seed uint64, n int) []string {
	g := &generator{Rand: rand.New(rand.NewPCG(seed, 11))}
	all := make([]string, n)
	for i := range all {
		all[i] = g.stanza()
	}
	return all
}

type generator struct {
	*rand.Rand
	prefixes []string // declared around what is being made
}

func pick[T any](g *generator, from []T) T { return from[g.IntN(len(from))] }

// once reports true in one of n cases.
func (g *generator) once(n int) bool { return g.IntN(n) == 0 }

var (
	letters = []string{
		"a", "b", "Z", "_", "\u00E9", "\u0151", "\u05D0", "\u0905", "\u0E01", "\u3042", "\u4E00", "\uAC00", // of every edition
		"\u00D7", "\u0132", "\u0220", "\u037F", "\u0487", "\u1E9E", "\u2070", "\u2C00", "\u3000", "\u9FA6", "\uA000", "\uF900", "\uFDF0", "\U00010000", "\U000E0100",
	}
	marks = []string{
		"0", "-", ".", "\u00B7", "\u0300", "\u0345", "\u0660", "\u06DD", "\u0E31", "\u0E46", "\u20D0", "\u3005", "\u309A", "\u302A",
		"\u034F", "\u203F", "\u0363", "\u2040", "\u0B71", "\uFE00",
	}
	namespaces = []string{
		"urn:x", "urn:y", "urn:x", "jabber:client", "jabber:server", "", " ", "urn: z", "%zz", "http://[", "\u00E9", "\U0010FFFF", "a&amp;b", "&#117;rn:x", "&lt;",
		streams, streams + "/", "http://etherx.jabber.org/stream&#115;", xmlNS, "http://www.w3.org/XML/1998/n&#x61;mespace", "http://www.w3.org/2000/xmlns/",
		"http://www.w3.org/1999/xhtml", "http://www.w3.org/2000/svg", "xml", "xmlns", "XML", "u\nv", "u&#10;v", "u&#9;v", "u\tv", "u v", "\u2028", "\uFFFD", "\u0085",
	}
	texts = []string{
		"", "text", " ", "\t\r\n", "&amp;&lt;&gt;&apos;&quot;", "'\"", "&#65;&#x41;", "&#x10FFFF;", "&#xFFFD;", "&#13;&#10;&#9;", "]]", "]]&gt;", ">", "\u00E9",
		"\U0001F44B", "\uFDD0", "\U0001FFFE", "\u007F\u0080\u009F", "\u2028", "\uFEFF", "\uFFFD", "&#128;", "&#xFDD0;", "&#x1FFFF;",
	}
	broken = []string{
		"]]>", "&", "&nope;", "&#0;", "&#xFFFE;", "&#xD800;", "&#x110000;", "&#X41;", "&#;", "\x00", "\x01", "\x0B", "\uFFFE", "\uFFFF", "\xFF", "\xC0\x80", "\xED\xA0\x80",
		"<", "<a", "<a>", "</a>", "<!-- -->", "<?x y?>", "<!DOCTYPE a>", "<![CDATA[", "<![CDATA[]]", "<a b/>", "<a b=c/>", "<a b='<'/>", "<a b='1' b='2'/>", "<1/>", "<-/>",
		"<a b='1'c='2'/>", "<:a/>", "<a:/>", "<a::b/>", "<\u2014/>", "<a \u00B7='1'/>", "< a/>", "<a / >", "<a></ a>", "<q:a/>", "<a q:b='1'/>",
	}
	values = []string{"", "1", ">", "]]>", "\n\t", "&#10;", "&amp;", "\u00E9", "\U0001FFFE", "&#xFFFD;", "x y"}
)

func (g *generator) stanza() string {
	g.prefixes = g.prefixes[:0]
	name := pick(g, []string{"message", "presence", "iq"})
	attrs := " xmlns='jabber:client' to='r@conference.v3.meet.jitsi/n' id='i'"
	if name == "iq" {
		attrs += " type='set'"
	}
	attrs += g.attributes(8)
	inner := ""
	for range g.IntN(4) {
		inner += g.content(2)
	}
	if g.once(12) {
		inner += pick(g, Kinds()).Children
	}
	s := "<" + name + attrs + ">" + inner + "</" + name + ">"
	if g.once(10) {
		s = g.mutate(s)
	}
	return s
}

func (g *generator) content(depth int) string {
	switch {
	case g.once(60):
		return pick(g, broken)
	case g.once(3):
		return pick(g, texts)
	case g.once(12):
		return "<![CDATA[" + pick(g, []string{"", "<&>", "]]", "]", "\u00E9", "&nope;", "<!-- -->"}) + "]]>"
	case g.once(30):
		n := 58 + g.IntN(10)
		return strings.Repeat("<d>", n) + strings.Repeat("</d>", n)
	}
	return g.element(depth)
}

func (g *generator) element(depth int) string {
	outer := len(g.prefixes)
	attrs := g.attributes(3)
	name := g.name()
	if len(g.prefixes) > 0 && g.once(3) {
		name = pick(g, g.prefixes) + ":" + g.name()
	}
	inner := ""
	for range g.IntN(3) {
		if depth > 0 {
			inner += g.content(depth - 1)
		}
	}
	g.prefixes = g.prefixes[:outer]
	if inner == "" {
		return "<" + name + attrs + "/>"
	}
	return "<" + name + attrs + ">" + inner + "</" + name + pick(g, []string{"", "", " ", "\n"}) + ">"
}

// attributes makes some attributes; the prefixes that they declare stay. seldom
// says how often there are any.
func (g *generator) attributes(seldom int) string {
	var b strings.Builder
	if g.once(seldom) {
		for i := range 1 + g.IntN(3) {
			prefix := pick(g, []string{"p", "q", "r", "ns1", "ns2", "xmlfoo", g.name()})
			if g.once(40) {
				prefix = pick(g, []string{"xml", "xmlns", "stream"})
			}
			if !strings.Contains(b.String(), ":"+prefix+"=") {
				fmt.Fprintf(&b, " xmlns:%s='%s'", prefix, g.namespace())
				g.prefixes = append(g.prefixes, prefix)
			}
			if len(g.prefixes) > 0 && g.once(2) {
				fmt.Fprintf(&b, " %s:%s=\"%s\"", pick(g, g.prefixes), pick(g, []string{g.name() + fmt.Sprint(i), "x", "lang"}), pick(g, values))
			}
		}
	}
	if g.once(2 * seldom) {
		fmt.Fprintf(&b, " %s=\"%s\"", pick(g, []string{"xml:lang", "xml:lang", "xml:lang", "xml:space", "xml:id", "xml:foo"}), pick(g, values))
	}
	for i := range g.IntN(4) * g.IntN(2) {
		fmt.Fprintf(&b, " %s%d='%s'", g.name(), i, pick(g, values))
	}
	if g.once(40) {
		b.WriteString(numbered(54+g.IntN(12), " n%d=''"))
	}
	if g.once(40) && len(g.prefixes) > 0 {
		b.WriteString(numbered(26+g.IntN(10), " "+pick(g, g.prefixes)+":n%d=''"))
	}
	if seldom < 8 && g.once(2) {
		fmt.Fprintf(&b, " xmlns='%s'", g.namespace())
	}
	return b.String()
}

func (g *generator) namespace() string {
	switch {
	case g.once(30):
		return "urn:" + strings.Repeat("n", 505+g.IntN(6))
	case g.once(2):
		return pick(g, namespaces)
	}
	return "urn:x"
}

func (g *generator) name() string {
	common := len(letters)
	if !g.once(6) {
		common = 12 // of every edition
	}
	name := letters[g.IntN(common)]
	for range g.IntN(3) {
		if g.once(3) {
			name += pick(g, marks[:14])
		} else {
			name += letters[g.IntN(common)]
		}
	}
	switch {
	case g.once(40):
		name += pick(g, marks)
	case g.once(60):
		name = strings.Repeat("l", 246+g.IntN(14))
	case g.once(60):
		name = pick(g, []string{"xml", "xmlns", "parsererror", "stream", "error", "lang", "XML"})
	}
	return name
}

// mutate changes a few bytes.
func (g *generator) mutate(s string) string {
	b := []byte(s)
	for range 1 + g.IntN(2) {
		at := g.IntN(len(b))
		switch g.IntN(4) {
		case 0:
			b = append(b[:at], b[at+1:]...)
		case 1:
			b[at] = pick(g, []byte("<>/='\"&;: \n\x00\x80]x"))
		case 2:
			end := min(len(b), at+1+g.IntN(8))
			b = append(b[:end:end], b[at:]...)
		case 3:
			b = append(b[:at:at], append([]byte(pick(g, broken)), b[at:]...)...)
		}
		if len(b) == 0 {
			return "<"
		}
	}
	return string(b)
}
