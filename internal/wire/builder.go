package wire

// Builder writes one element into a buffer. It is for the stanzas a room or a
// stream builds itself, once each; what is forwarded is spliced, not built.
// The zero value is ready for use.
type Builder struct {
	buf   []byte
	names []string // of the open elements
	few   [4]string
	inTag bool // the last start tag still lacks its '>'
}

// builtSize holds most of what is built: growing up to it by and by would leave
// as much garbage again.
const builtSize = 256

// NewBuilder returns a Builder that appends to dst.
func NewBuilder(dst []byte) *Builder {
	if dst == nil {
		dst = make([]byte, 0, builtSize)
	}
	b := &Builder{buf: dst}
	b.names = b.few[:0]
	return b
}

// Start opens an element; attrs are names and unescaped values in turn.
func (b *Builder) Start(name string, attrs ...string) *Builder {
	b.closeTag()
	b.buf = append(b.buf, '<')
	b.buf = append(b.buf, name...)
	for i := 0; i+1 < len(attrs); i += 2 {
		b.buf = AppendAttr(b.buf, attrs[i], attrs[i+1])
	}
	b.names = append(b.names, name)
	b.inTag = true
	return b
}

// Attr adds an attribute to the element just started; an empty value adds
// none.
func (b *Builder) Attr(name, value string) *Builder {
	if value != "" {
		b.buf = AppendAttr(b.buf, name, value)
	}
	return b
}

// Text adds escaped character data.
func (b *Builder) Text(s string) *Builder {
	b.closeTag()
	b.buf = AppendText(b.buf, s)
	return b
}

// Raw adds bytes that are well-formed content already.
func (b *Builder) Raw(p []byte) *Builder {
	if len(p) > 0 {
		b.closeTag()
		b.buf = append(b.buf, p...)
	}
	return b
}

// Elem adds a whole element holding text, <name attrs/> when it is empty.
func (b *Builder) Elem(name, text string, attrs ...string) *Builder {
	b.Start(name, attrs...)
	if text != "" {
		b.Text(text)
	}
	return b.End()
}

// End closes the innermost open element.
func (b *Builder) End() *Builder {
	name := b.names[len(b.names)-1]
	b.names = b.names[:len(b.names)-1]
	if b.inTag {
		b.buf = append(b.buf, '/', '>')
		b.inTag = false
		return b
	}
	b.buf = append(b.buf, '<', '/')
	b.buf = append(b.buf, name...)
	b.buf = append(b.buf, '>')
	return b
}

// Bytes closes what is still open and returns the buffer.
func (b *Builder) Bytes() []byte {
	for len(b.names) > 0 {
		b.End()
	}
	return b.buf
}

func (b *Builder) closeTag() {
	if b.inTag {
		b.buf = append(b.buf, '>')
		b.inTag = false
	}
}
