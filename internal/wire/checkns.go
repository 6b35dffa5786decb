package wire

import "bytes"

const (
	nsXML   = "http://www.w3.org/XML/1998/namespace"
	nsXMLNS = "http://www.w3.org/2000/xmlns/"
)

// classify counts an attribute by what it is.
func (c *checker) classify(a *attr) {
	if len(a.name) > maxName {
		c.violate(LongName)
	}
	switch {
	case a.colon < 0:
		switch string(a.name) {
		case "xmlns":
			c.tag.space = true
		case "to", "from", "id", "type":
			c.tag.stamped++
		default:
			c.tag.plain++
		}
	case string(a.name) == "xml:lang":
		c.tag.stamped++
	case string(a.name[:a.colon]) == "xmlns":
		c.tag.declared++
	default:
		c.tag.prefixed++
		if len(a.name)-a.colon-1 > maxPrefixedLocal {
			c.violate(LongName)
		}
	}
}

// namespaces verifies the start tag just read: its declarations, and what its
// prefixes stand for (Namespaces in XML 1.0 §3, §5, §6.3). The limits are those
// of the tag as Prosody writes it again: with a declaration for each attribute
// in a namespace, and an xmlns.
func (c *checker) namespaces(name []byte, colon int) {
	c.limits()
	if c.tag.space || c.tag.declared > 0 {
		c.declarations()
	}
	if c.outside == 0 {
		c.elementName(name, colon)
	}
	if c.tag.prefixed > 0 && c.outside == 0 {
		c.prefixedAttrs()
	}
}

// stamps is how many attributes a Stamp can set: every stanza may get them.
const stamps = 6

func (c *checker) limits() {
	depth := len(c.open)
	bound := max(c.tag.declared, c.tag.prefixed)
	c.open[depth-1].bound = int16(bound)
	c.bound += bound
	attrs := 1 + c.tag.stamped
	if depth == 1 {
		attrs = stamps
	}
	if attrs+c.tag.plain+c.tag.prefixed+bound > c.lim.MaxAttrs {
		c.violate(TooManyAttributes)
	}
	if c.bound > c.lim.MaxAttrs {
		c.violate(TooManyPrefixes)
	}
}

// declarations notes what the tag declares.
func (c *checker) declarations() {
	depth := len(c.open)
	for i := range c.attrs {
		a := &c.attrs[i]
		var prefix []byte
		switch {
		case a.colon >= 0 && string(a.name[:a.colon]) == "xmlns":
			prefix = a.name[a.colon+1:]
		case a.colon >= 0 || string(a.name) != "xmlns":
			continue
		}
		uri := decoded(a.value)
		if v := declaration(prefix, uri); v != 0 {
			c.violate(v)
			return
		}
		c.scope = append(c.scope, binding{prefix: prefix, uri: uri, depth: depth})
	}
}

// decoded is Unescape without a copy in the usual case.
func decoded(raw []byte) []byte {
	if indexByte(raw, '&') < 0 {
		return raw
	}
	return []byte(Unescape(raw))
}

// declaration verifies a declaration; prefix is empty for the default
// namespace. White space other than blanks does not survive in a namespace name:
// a parser reads blanks where Prosody wrote it.
func declaration(prefix, uri []byte) Violation {
	switch {
	case len(uri) > maxNamespace:
		return LongNamespace
	case string(prefix) == "xml", string(prefix) == "xmlns", len(prefix) > 0 && len(uri) == 0, reserved(uri),
		bytes.ContainsAny(uri, "\t\r\n"):
		return ReservedNamespace
	case len(prefix) == 0 && string(uri) == NSStream:
		return StreamsElement
	}
	return 0
}

// reserved reports whether a namespace name must not be declared: Namespaces in
// XML 1.0 §3 reserves two, and the parser of Chromium 156 takes the prefixes
// bound to these for them.
func reserved(uri []byte) bool {
	switch string(uri) {
	case nsXML, nsXMLNS, "xml", "xmlns":
		return true
	}
	return false
}

// Bytes that Prosody adds to declare a namespace.
const (
	declaresElement   = len(" xmlns=''")
	declaresAttribute = len(" xmlns:ns64='' ns64:")
)

// elementName verifies the prefix of the tag's own name.
func (c *checker) elementName(name []byte, colon int) {
	depth := len(c.open)
	if colon < 0 {
		if !c.tag.space && depth > 1 && c.open[depth-2].prefixed {
			c.grows(declaresElement + c.defaultLen())
		}
		return
	}
	switch string(name[:colon]) {
	case "xml":
		c.violate(XMLElement)
		return
	case "xmlns":
		c.violate(ReservedNamespace)
		return
	}
	at := c.lookup(name[:colon])
	if at == nil {
		return
	}
	if string(at.uri) == NSStream || string(name[:colon]) == "stream" { // there are clients that look for <stream:error/>
		c.violate(StreamsElement)
	}
	c.use(at, declaresElement)
}

// defaultLen returns the length of the default namespace's name.
func (c *checker) defaultLen() int {
	for n := len(c.scope) - 1; n >= 0; n-- {
		if len(c.scope[n].prefix) == 0 {
			return len(c.scope[n].uri)
		}
	}
	return len(NSClient)
}

// use counts what Prosody writes for the use of a prefix. The first one on the
// tag that declares it costs nothing more.
func (c *checker) use(at *binding, declares int) {
	if at.depth == len(c.open) && !at.used {
		at.used = true
		return
	}
	c.grows(declares + len(at.uri))
}

// lookup returns what a prefix is bound to, nil when it is not.
func (c *checker) lookup(prefix []byte) *binding {
	for n := len(c.scope) - 1; n >= 0; n-- {
		if bytes.Equal(c.scope[n].prefix, prefix) {
			return &c.scope[n]
		}
	}
	c.violate(UndeclaredPrefix)
	return nil
}

// prefixedAttrs verifies the attributes that have a prefix. It refuses a:x and
// b:x on one tag when a and b are the same namespace: a browser's parser does,
// and drops the whole document.
func (c *checker) prefixedAttrs() {
	for i := range c.attrs {
		a := &c.attrs[i]
		if a.colon < 0 || string(a.name) == "xml:lang" {
			continue
		}
		local := a.name[a.colon+1:]
		switch string(a.name[:a.colon]) {
		case "xmlns":
			continue
		case "xml":
			c.violate(XMLAttribute)
			return
		}
		if string(local) == "xmlns" {
			c.violate(XMLNSAttribute)
			return
		}
		at := c.lookup(a.name[:a.colon])
		if at == nil {
			return
		}
		c.use(at, declaresAttribute)
		a.uri = at.uri
		for _, other := range c.attrs[:i] {
			if other.uri != nil && bytes.Equal(other.name[other.colon+1:], local) && bytes.Equal(other.uri, a.uri) {
				c.violate(SameAttribute)
				return
			}
		}
	}
}
