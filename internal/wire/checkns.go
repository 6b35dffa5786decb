package wire

import "bytes"

const (
	nsXML   = "http://www.w3.org/XML/1998/namespace"
	nsXMLNS = "http://www.w3.org/2000/xmlns/"
)

var nsXMLBytes = []byte(nsXML)

// namespaces verifies the start tag just read: its declarations, and that
// every prefix it uses is declared (Namespaces in XML 1.0 §3, §5, §6.3).
func (c *checker) namespaces(name []byte) error {
	depth := len(c.open)
	for _, a := range c.attrs {
		prefix, ok := bytes.CutPrefix(a.name, []byte("xmlns:"))
		if !ok {
			if string(a.name) == "xmlns" && reservedURI(a.value) {
				return errPrefix
			}
			continue
		}
		if err := checkDeclaration(prefix, a.value); err != nil {
			return err
		}
		c.scope = append(c.scope, binding{prefix, a.value, depth})
	}
	if _, err := c.uri(name); err != nil {
		return err
	}
	return c.uniqueAttrs()
}

func reservedURI(raw []byte) bool {
	uri := unescapeShared(raw)
	return uri == nsXML || uri == nsXMLNS
}

func checkDeclaration(prefix, uri []byte) error {
	switch string(prefix) {
	case "xmlns":
		return errPrefix
	case "xml":
		if unescapeShared(uri) != nsXML {
			return errPrefix
		}
		return nil
	}
	if len(uri) == 0 || reservedURI(uri) {
		return errPrefix
	}
	return nil
}

// uri returns the namespace the prefix of name is bound to, nil for a name
// without one.
func (c *checker) uri(name []byte) ([]byte, error) {
	i := indexByte(name, ':')
	if i < 0 {
		return nil, nil
	}
	prefix := name[:i]
	for n := len(c.scope) - 1; n >= 0; n-- {
		if bytes.Equal(c.scope[n].prefix, prefix) {
			return c.scope[n].uri, nil
		}
	}
	if string(prefix) == "xml" {
		return nsXMLBytes, nil
	}
	return nil, errPrefix
}

// uniqueAttrs refuses a:x and b:x on one tag when a and b are the same
// namespace: a browser's parser does, and drops the whole document.
func (c *checker) uniqueAttrs() error {
	for i, a := range c.attrs {
		if indexByte(a.name, ':') < 0 || bytes.HasPrefix(a.name, []byte("xmlns:")) {
			continue
		}
		uri, err := c.uri(a.name)
		if err != nil {
			return err
		}
		for _, b := range c.attrs[:i] {
			if !bytes.Equal(localName(a.name), localName(b.name)) || indexByte(b.name, ':') < 0 {
				continue
			}
			other, err := c.uri(b.name)
			if err == nil && unescapeShared(uri) == unescapeShared(other) {
				return errNotWellFormed
			}
		}
	}
	return nil
}

func localName(name []byte) []byte { return name[indexByte(name, ':')+1:] }
