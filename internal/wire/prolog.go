package wire

import "bytes"

// byteOrderMark is what some writers put before a document (XML 1.0 appendix F).
var byteOrderMark = []byte("\xEF\xBB\xBF")

// utf16 reports whether a document begins with a byte order mark of UTF-16.
func utf16(b []byte) bool {
	return len(b) > 1 && (b[0] == 0xFF && b[1] == 0xFE || b[0] == 0xFE && b[1] == 0xFF)
}

// SkipProlog returns what follows a byte order mark, white space and the XML
// declaration at the beginning of a document, all of which may be missing. The
// error is a [StreamError]: an encoding other than UTF-8 (RFC 6120 §11.6), or a
// declaration without an end.
func SkipProlog(b []byte) ([]byte, error) {
	if utf16(b) {
		return b, errEncoding
	}
	b = trimLeft(bytes.TrimPrefix(b, byteOrderMark))
	rest, ok := bytes.CutPrefix(b, []byte("<?xml"))
	if !ok || len(rest) == 0 || !isSpace(rest[0]) {
		return b, nil
	}
	end := bytes.Index(rest, []byte("?>"))
	if end < 0 {
		return b, errNotWellFormed
	}
	if !utf8Declared(rest[:end]) {
		return b, errEncoding
	}
	return trimLeft(rest[end+len("?>"):]), nil
}

func trimLeft(b []byte) []byte { return bytes.TrimLeft(b, " \t\r\n") }
