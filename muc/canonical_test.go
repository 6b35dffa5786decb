package muc

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// node is an element reduced to what it means: names with namespaces, the
// content namespaces made one, attributes in order, declarations gone.
type node struct {
	name  string
	attrs []string // name=value
	text  string
	kids  []*node
}

func parseNode(b []byte) (*node, error) {
	d := xml.NewDecoder(bytes.NewReader(b))
	var stack []*node
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("no complete element in %q", b)
		}
		if err != nil {
			return nil, fmt.Errorf("%w in %q", err, b)
		}
		switch t := tok.(type) {
		case xml.StartElement:
			n := &node{name: expanded(t.Name)}
			for _, a := range t.Attr {
				if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" {
					n.attrs = append(n.attrs, expanded(a.Name)+"="+a.Value)
				}
			}
			slices.Sort(n.attrs)
			if len(stack) > 0 {
				top := stack[len(stack)-1]
				top.kids = append(top.kids, n)
			}
			stack = append(stack, n)
		case xml.CharData:
			if len(stack) > 0 {
				stack[len(stack)-1].text += string(t)
			}
		case xml.EndElement:
			if len(stack) == 1 {
				return stack[0], nil
			}
			stack = stack[:len(stack)-1]
		}
	}
}

func expanded(n xml.Name) string {
	if n.Space == "" || n.Space == "jabber:client" || n.Space == "jabber:server" {
		return n.Local
	}
	return "{" + n.Space + "}" + n.Local
}

// String is the canonical form, one line.
func (n *node) String() string {
	var b strings.Builder
	b.WriteString("<" + n.name)
	for _, a := range n.attrs {
		b.WriteString(" " + a)
	}
	b.WriteString(">" + strings.TrimSpace(n.text))
	for _, k := range n.kids {
		b.WriteString(k.String())
	}
	return b.String() + "</>"
}

// attr returns the value of an attribute, "" when absent.
func (n *node) attr(name string) string {
	for _, a := range n.attrs {
		if v, ok := strings.CutPrefix(a, name+"="); ok {
			return v
		}
	}
	return ""
}

// find returns the first descendant whose name ends in local, or nil.
func (n *node) find(local string) *node {
	for _, k := range n.kids {
		if k.name == local || strings.HasSuffix(k.name, "}"+local) {
			return k
		}
		if d := k.find(local); d != nil {
			return d
		}
	}
	return nil
}

// matches compares with a pattern in which an attribute value of * stands for
// any.
func (n *node) matches(pattern *node) bool {
	if n.name != pattern.name || len(n.attrs) != len(pattern.attrs) || len(n.kids) != len(pattern.kids) ||
		strings.TrimSpace(n.text) != strings.TrimSpace(pattern.text) {
		return false
	}
	for i, want := range pattern.attrs {
		name, any := strings.CutSuffix(want, "=*")
		if n.attrs[i] != want && !(any && strings.HasPrefix(n.attrs[i], name+"=")) {
			return false
		}
	}
	for i := range n.kids {
		if !n.kids[i].matches(pattern.kids[i]) {
			return false
		}
	}
	return true
}
