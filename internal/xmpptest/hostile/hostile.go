// Package hostile has stanzas that one client says to harm the others: well-formed
// XML that some parser around a room refuses, as it is or as Prosody writes it
// again, or takes for something else; and a generator of stanzas near the border
// between these and the others.
package hostile

import (
	"fmt"
	"strings"
)

// Kind is one way to harm.
type Kind struct {
	Name string
	// Children go into a message or a presence. In a presence of a browser,
	// strophe.js could not make them: they must be sent as text.
	Children string
	// Reason is the label under which a node counts what it drops: the String
	// of a wire.Violation. A server that sends the stanza on may have written it
	// again, and be dropped for another one.
	Reason string
}

const (
	streams = "http://etherx.jabber.org/streams"
	xmlNS   = "http://www.w3.org/XML/1998/namespace"
)

// Kinds returns one stanza of each kind, in a fixed order.
func Kinds() []Kind {
	return []Kind{
		{"stream error", "<stream:error xmlns:stream='" + streams + "'><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>", "streams_element"},
		{"stream error by another prefix", "<s:error xmlns:s='" + streams + "'/>", "streams_element"},
		{"stream error in a default namespace", "<error xmlns='" + streams + "'/>", "streams_element"},
		{"stream error, its namespace by references", "<error xmlns='http://etherx.jabber.org/stream&#115;'/>", "streams_element"},
		{"stream error by a prefix and references", "<s:error xmlns:s='http://etherx&#x2E;jabber.org/streams'/>", "streams_element"},
		{"stream features deep inside", "<a xmlns='urn:x'><b><s:features xmlns:s='" + streams + "'/></b></a>", "streams_element"},
		{"prefix of streams for something else", "<stream:error xmlns:stream='urn:x'/>", "streams_element"},
		{"element of the XML namespace", "<xml:a/>", "xml_element"},
		{"element of the XML namespace deep inside", "<a xmlns='urn:x'><b><xml:lang/></b></a>", "xml_element"},
		{"xml:foo", "<a xmlns='urn:x' xml:foo='1'/>", "xml_attribute"},
		{"xml:space", "<a xmlns='urn:x' xml:space='preserve'/>", "xml_attribute"},
		{"xml:base", "<a xmlns='urn:x'><b xml:base='http://x/'/></a>", "xml_attribute"},
		{"xml:id", "<a xmlns='urn:x' xml:id='i'/>", "xml_attribute"},
		{"prefix of ours for the XML namespace", "<a xmlns='urn:x' xmlns:ns1='" + xmlNS + "' ns1:foo='1'/>", "reserved_namespace"},
		{"XML namespace as the default", "<a xmlns='" + xmlNS + "'/>", "reserved_namespace"},
		{"XML namespace declared again", "<a xmlns='urn:x' xmlns:xml='" + xmlNS + "'/>", "reserved_namespace"},
		{"namespace of declarations", "<a xmlns='http://www.w3.org/2000/xmlns/'/>", "reserved_namespace"},
		{"namespace named xmlns", "<a xmlns='xmlns'/>", "reserved_namespace"},
		{"namespace named xml by a prefix", "<p:a xmlns:p='xml'/>", "reserved_namespace"},
		{"undefined prefix", "<a xmlns='urn:x' xmlns:p=''/>", "reserved_namespace"},
		{"line break in a namespace", "<a xmlns='urn:x&#10;y'/>", "reserved_namespace"},
		{"attribute xmlns with a prefix", "<a xmlns='urn:x' xmlns:p='urn:y' p:xmlns='urn:z'/>", "xmlns_attribute"},
		{"element name of the fifth edition", "<\u2070 xmlns='urn:x'/>", "name"},
		{"attribute name of the fifth edition", "<a xmlns='urn:x' \u2C00='1'/>", "name"},
		{"letter of a later Unicode in a name", "<a\u0220 xmlns='urn:x'/>", "name"},
		{"astral name", "<\U00010000 xmlns='urn:x'/>", "name"},
		{"prefix of the fifth edition", "<\u2070:a xmlns:\u2070='urn:x'/>", "name"},
		{"long element name", "<" + strings.Repeat("a", 1100) + " xmlns='urn:x'/>", "name_length"},
		{"long attribute name", "<a xmlns='urn:x' " + strings.Repeat("b", 1100) + "='1'/>", "name_length"},
		{"long namespace", "<a xmlns='urn:" + strings.Repeat("x", 1100) + "'/>", "namespace_length"},
		{"long namespace by a prefix", "<p:a xmlns:p='urn:" + strings.Repeat("x", 1100) + "'/>", "namespace_length"},
		{"depth", strings.Repeat("<a xmlns='urn:x'>", 70) + strings.Repeat("</a>", 70), "depth"},
		{"attributes", "<a xmlns='urn:x'" + numbered(70, " a%d='1'") + "/>", "attributes"},
		{"attributes, once declared", "<a xmlns='urn:x' xmlns:p='urn:y'" + numbered(40, " p:a%d='1'") + "/>", "attributes"},
		{"parser error", "<parsererror xmlns='http://www.w3.org/1999/xhtml'/>", "parsererror"},
		{"parser error by a prefix", "<p:parsererror xmlns:p='urn:x'/>", "parsererror"},
		{"namespace in every child", "<a xmlns='urn:x' xmlns:p='urn:" + strings.Repeat("x", 500) + "'>" + strings.Repeat("<p:b/>", 2000) + "</a>", "rewritten_size"},
		{"escapes", "<body>" + strings.Repeat("'", 110_000) + "</body>", "rewritten_size"},
	}
}

// numbered repeats a format with the numbers from 0.
func numbered(n int, format string) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}
