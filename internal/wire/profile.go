package wire

import (
	"bytes"

	"mellium.im/xmpp/stanza"
)

// Violation says why a stanza that is well-formed must not be shown to a room,
// to the main server or to the focus: because one of their parsers refuses it,
// as it is or as Prosody writes it again, or takes a part of it for something
// else. It is an error of that stanza, not of the stream it came on. The zero
// value means that the stanza is in the profile.
type Violation uint8

// The violations. The String of each is the label of a metric.
const (
	_ Violation = iota
	// TooDeep: more than Limits.MaxDepth elements inside one another.
	TooDeep
	// TooManyAttributes: a tag with more than Limits.MaxAttrs attributes.
	TooManyAttributes
	// TooManyPrefixes: more than Limits.MaxAttrs prefixes declared at a time.
	TooManyPrefixes
	// NewName: a name that XML 1.0 allows since its fifth edition only.
	NewName
	// LongName: a name of more than 256 bytes.
	LongName
	// LongNamespace: a namespace name of more than 512 bytes.
	LongNamespace
	// ReservedNamespace: a declaration that Namespaces in XML 1.0 forbids, or a
	// namespace name that a parser takes for a reserved one.
	ReservedNamespace
	// StreamsElement: an element of the namespace of streams, or one that says
	// it is by its prefix. Browsers close their stream on it.
	StreamsElement
	// XMLElement: an element of the XML namespace.
	XMLElement
	// XMLAttribute: an attribute of the XML namespace other than xml:lang.
	XMLAttribute
	// XMLNSAttribute: an attribute xmlns that has a prefix.
	XMLNSAttribute
	// ParserError: an element by which browsers report that they cannot parse.
	ParserError
	// TooLargeRewritten: larger than what servers take from one another, once
	// Prosody has written it again.
	TooLargeRewritten
	// TooLarge: larger than Limits.MaxBytes, on a stream that goes on.
	TooLarge
	// UndeclaredPrefix: a prefix that the stanza does not declare.
	UndeclaredPrefix
	// SameAttribute: two attributes of one name in one namespace.
	SameAttribute

	// ViolationCount is one more than the highest Violation, for tables.
	ViolationCount
)

// What the profile allows beside [Limits].
const (
	maxName      = 256 // bytes, prefix included; the JDK reads 1000
	maxNamespace = 512 // bytes of a namespace name, references replaced

	// maxPrefixedLocal leaves room for the prefix that Prosody gives to an
	// attribute in a namespace: ns1 to ns64.
	maxPrefixedLocal = maxName - len("ns64:")

	// rewriteSpace is what Prosody and a room may add to a stanza's start tag.
	rewriteSpace = 8 << 10
)

var violationTexts = [ViolationCount]struct{ label, text string }{
	TooDeep:           {"depth", "elements nested too deeply"},
	TooManyAttributes: {"attributes", "too many attributes"},
	TooManyPrefixes:   {"prefixes", "too many namespace prefixes"},
	NewName:           {"name", "names must be those of XML 1.0, fourth edition"},
	LongName:          {"name_length", "name too long"},
	LongNamespace:     {"namespace_length", "namespace name too long"},
	ReservedNamespace: {"reserved_namespace", "reserved namespace or prefix declared"},
	StreamsElement:    {"streams_element", "element of the streams namespace in a stanza"},
	XMLElement:        {"xml_element", "element of the XML namespace"},
	XMLAttribute:      {"xml_attribute", "attribute of the XML namespace other than xml:lang"},
	XMLNSAttribute:    {"xmlns_attribute", "attribute xmlns with a prefix"},
	ParserError:       {"parsererror", "element parsererror"},
	TooLargeRewritten: {"rewritten_size", "stanza too large once servers have rewritten it"},
	TooLarge:          {"size", "stanza too large"},
	UndeclaredPrefix:  {"undeclared_prefix", "undeclared namespace prefix"},
	SameAttribute:     {"same_attribute", "the same attribute twice"},
}

// Violations returns all of them.
func Violations() []Violation {
	all := make([]Violation, 0, ViolationCount-1)
	for v := Violation(1); v < ViolationCount; v++ {
		all = append(all, v)
	}
	return all
}

// String returns the violation as a metric's label.
func (v Violation) String() string { return violationTexts[v].label }

// Error implements error.
func (v Violation) Error() string { return "stanza outside the profile: " + violationTexts[v].text }

// StanzaError is the answer to a stanza that is outside the profile (RFC 6120
// §8.3.3.12).
func (v Violation) StanzaError() StanzaError {
	return StanzaError{Type: stanza.Modify, Condition: stanza.PolicyViolation, Text: violationTexts[v].text}
}

// StreamError is the violation where it ends the stream: in what is not a
// stanza, and where RFC 6120 has a stream error for it.
func (v Violation) StreamError() StreamError {
	switch v {
	case UndeclaredPrefix:
		return StreamError{Condition: BadNamespacePrefix}
	case SameAttribute:
		return StreamError{Condition: NotWellFormed}
	}
	return StreamError{Condition: PolicyViolation, Text: violationTexts[v].text}
}

// EndsStream reports whether the stanza is not namespace-well-formed, which
// RFC 6120 §11.3 demands. On a stream of its sender alone it is a stream error.
func (v Violation) EndsStream() bool { return v == UndeclaredPrefix || v == SameAttribute }

// AnswerableViolation reports whether a stanza outside the profile is answered:
// what [Answerable] says, and that an IQ must be a request and a presence must
// have been sent to somebody.
func AnswerableViolation(h *Header) bool {
	switch string(h.Name) {
	case "iq":
		return string(h.Type) == "get" || string(h.Type) == "set"
	case "presence":
		return Answerable(h) && len(h.To) > 0
	}
	return Answerable(h)
}

// violate notes the first violation. The check goes on after it: only what
// well-formedness demands is looked at then.
func (c *checker) violate(v Violation) {
	if c.outside == 0 {
		c.outside = v
	}
}

// checkName verifies the name of an element; colon is negative without prefix.
func (c *checker) checkName(name []byte, colon int) {
	local := name[colon+1:]
	if len(name) > maxName {
		c.violate(LongName)
	}
	if string(local) == "parsererror" {
		c.violate(ParserError)
	}
}

// grows adds to how many bytes longer the stanza is when Prosody has written it
// again: every element has a declaration of its own then, and so has every
// attribute in a namespace.
func (c *checker) grows(n int) { c.growth += n }

// growsEscaped is grows for character data, in which Prosody escapes what need
// not be.
func (c *checker) growsEscaped(data []byte, references bool) {
	if !c.large {
		return
	}
	n := 5*bytes.Count(data, []byte("'")) + 5*bytes.Count(data, []byte(`"`)) + 3*bytes.Count(data, []byte(">"))
	if !references {
		n += 4*bytes.Count(data, []byte("&")) + 3*bytes.Count(data, []byte("<"))
	}
	c.grows(n)
}
