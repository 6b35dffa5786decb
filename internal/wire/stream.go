package wire

import "errors"

// StreamHeader is the opening of a stream: <stream:stream> on TCP (RFC 6120
// §4.7) or <open/> on WebSocket (RFC 7395 §3.4). Values are unescaped.
type StreamHeader struct {
	To, From, ID, Version, Lang string
	Content                     string // the default namespace
}

// ParseStreamHeader reads the header of a TCP stream from a token of kind
// [StreamStart] and checks what any stream must have: the stream namespace,
// version 1.0 and content as its default namespace, unless that is the streams'
// own or none, and stanzas declare theirs (RFC 6120 §4.8.3). The header is returned with
// the error too, so that the answer can be addressed.
func ParseStreamHeader(tag []byte, content string) (StreamHeader, error) {
	h, err := ParseHeader(tag)
	if err != nil {
		return StreamHeader{}, err
	}
	s := streamHeader(&h)
	name := string(h.Name)
	prefix := ""
	if i := indexByte(h.Name, ':'); i >= 0 {
		prefix, name = name[:i], name[i+1:]
	}
	space, _ := declared(prefix, &h)
	switch {
	case name != "stream":
		return s, streamErr(BadFormat, "")
	case space != NSStream:
		return s, streamErr(InvalidNamespace, "")
	case prefix == "", h.Space == nil:
		s.Content = content
	case s.Content != content:
		return s, streamErr(InvalidNamespace, "")
	}
	return s, s.checkVersion()
}

// ParseOpen reads an RFC 7395 <open/> element.
func ParseOpen(elem []byte) (StreamHeader, error) {
	h, err := ParseHeader(elem)
	if err != nil {
		return StreamHeader{}, err
	}
	s := streamHeader(&h)
	space, local := h.QName()
	if local != "open" || space != NSFraming {
		return s, streamErr(InvalidNamespace, "")
	}
	s.Content = NSFraming
	return s, s.checkVersion()
}

func streamHeader(h *Header) StreamHeader {
	return StreamHeader{
		To: Unescape(h.To), From: Unescape(h.From), ID: Unescape(h.ID), Lang: Unescape(h.Lang),
		Version: h.Attr("version"), Content: Unescape(h.Space),
	}
}

// checkVersion accepts major version 1 (RFC 6120 §4.7.5).
func (s *StreamHeader) checkVersion() error {
	if len(s.Version) < 2 || s.Version[:2] != "1." {
		return streamErr(UnsupportedVersion, "")
	}
	return nil
}

// Append appends the header as <?xml?><stream:stream …>; extra holds further
// encoded attributes, such as the dialback namespace.
func (s StreamHeader) Append(dst []byte, extra string) []byte {
	dst = append(dst, "<?xml version='1.0'?><stream:stream xmlns='"...)
	dst = append(dst, s.Content...)
	dst = append(dst, "' xmlns:stream='"+NSStream+"'"...)
	dst = append(dst, extra...)
	return append(s.attrs(dst), '>')
}

// AppendOpen appends the header as an RFC 7395 <open/>.
func (s StreamHeader) AppendOpen(dst []byte) []byte {
	dst = append(dst, "<open xmlns='"+NSFraming+"'"...)
	return append(s.attrs(dst), "/>"...)
}

func (s *StreamHeader) attrs(dst []byte) []byte {
	for _, a := range [...]struct{ name, value string }{
		{"from", s.From}, {"to", s.To}, {"id", s.ID}, {"version", s.Version}, {"xml:lang", s.Lang},
	} {
		if a.value != "" {
			dst = AppendAttr(dst, a.name, a.value)
		}
	}
	return dst
}

// IsStreamError reports whether err is the peer's or our own fault expressed
// as a [StreamError], rather than a broken connection.
func IsStreamError(err error) bool {
	var e StreamError
	return errors.As(err, &e)
}
