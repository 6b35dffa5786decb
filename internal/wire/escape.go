package wire

import (
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"
)

// AppendAttr appends ` name='value'` with value escaped.
func AppendAttr(dst []byte, name, value string) []byte {
	dst = append(dst, ' ')
	dst = append(dst, name...)
	dst = append(dst, '=', '\'')
	dst = AppendText(dst, value)
	return append(dst, '\'')
}

// AppendText appends s escaped for both character data and a quoted attribute
// value. Characters XML does not allow, and invalid UTF-8, become U+FFFD:
// nothing this project says can be ill-formed, whatever it was told.
func AppendText(dst []byte, s string) []byte {
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if (r == utf8.RuneError && n == 1) || !isChar(r) {
				dst = append(dst, s[start:i]...)
				dst = append(dst, "\uFFFD"...)
				start = i + n
			}
			i += n
			continue
		}
		esc := escapes[c]
		if esc == "" {
			i++
			continue
		}
		dst = append(dst, s[start:i]...)
		dst = append(dst, esc...)
		i++
		start = i
	}
	return append(dst, s[start:]...)
}

// escapes maps ASCII to what stands for it; "" means itself. Tab, newline and
// carriage return are written as references because an XML parser normalises
// them away in attribute values (XML 1.0 §3.3.3, §2.11).
var escapes = func() (t [utf8.RuneSelf]string) {
	for c := range 0x20 {
		t[c] = "\uFFFD"
	}
	t['\t'], t['\n'], t['\r'] = "&#9;", "&#10;", "&#13;"
	t['<'], t['>'], t['&'], t['\''], t['"'] = "&lt;", "&gt;", "&amp;", "&apos;", "&quot;"
	return t
}()

// Unescape returns raw with the five predefined entities and character
// references replaced. What is not a reference XML knows is kept as it stands;
// [Check] refuses such input before it gets here. Without any '&' the result
// is a plain copy.
func Unescape(raw []byte) string {
	i := indexByte(raw, '&')
	if i < 0 {
		return string(raw)
	}
	var b strings.Builder
	b.Grow(len(raw))
	for len(raw) > 0 {
		if i < 0 {
			b.Write(raw)
			break
		}
		b.Write(raw[:i])
		raw = raw[i:]
		r, n := reference(raw)
		if n == 0 {
			b.WriteByte('&')
			n = 1
		} else {
			b.WriteRune(r)
		}
		raw = raw[n:]
		i = indexByte(raw, '&')
	}
	return b.String()
}

// reference decodes the reference at the start of b, which begins with '&'.
// It returns its character and length, or 0, 0 when it is none.
func reference(b []byte) (rune, int) {
	// The longest legal one is &#x10FFFF; with leading zeros allowed for.
	const longest = 16
	if len(b) > longest {
		b = b[:longest]
	}
	end := indexByte(b, ';')
	if end < 2 {
		return 0, 0
	}
	switch name := str(b[1:end]); name {
	case "lt":
		return '<', end + 1
	case "gt":
		return '>', end + 1
	case "amp":
		return '&', end + 1
	case "apos":
		return '\'', end + 1
	case "quot":
		return '"', end + 1
	default:
		if r, ok := charReference(name); ok {
			return r, end + 1
		}
		return 0, 0
	}
}

func charReference(name string) (rune, bool) {
	if len(name) < 2 || name[0] != '#' {
		return 0, false
	}
	base, digits := 10, name[1:]
	if digits[0] == 'x' {
		base, digits = 16, digits[1:]
	}
	// ParseUint takes a sign or an underscore only with base 0, and no
	// uppercase 'X' prefix: what is left is exactly XML's CharRef (§4.1).
	n, err := strconv.ParseUint(digits, base, 32)
	if err != nil || !isChar(rune(n)) {
		return 0, false
	}
	return rune(n), true
}

// isChar reports whether XML 1.0 §2.2 allows r.
func isChar(r rune) bool {
	switch {
	case r < 0x20:
		return r == '\t' || r == '\n' || r == '\r'
	case r < 0xD800:
		return true
	case r < 0xE000:
		return false
	default:
		return r <= 0x10FFFF && r != 0xFFFE && r != 0xFFFF
	}
}

// str views b as a string without a copy; only for use that ends before b
// changes.
func str(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
