// Package canonical compares stanzas by what they mean, for tests.
package canonical

import (
	"bytes"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// Element is an element reduced to what it means: names with namespaces, the
// content namespaces made one, attributes in order, declarations gone.
type Element struct {
	Name  string
	Attrs []string // name=value
	Text  string
	Kids  []*Element
}

// Parse reads the first complete element of b.
func Parse(b []byte) (*Element, error) {
	d := xml.NewDecoder(bytes.NewReader(b))
	var stack []*Element
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
			n := &Element{Name: expanded(t.Name)}
			for _, a := range t.Attr {
				if a.Name.Space != "xmlns" && a.Name.Local != "xmlns" {
					n.Attrs = append(n.Attrs, expanded(a.Name)+"="+a.Value)
				}
			}
			slices.Sort(n.Attrs)
			if len(stack) > 0 {
				top := stack[len(stack)-1]
				top.Kids = append(top.Kids, n)
			}
			stack = append(stack, n)
		case xml.CharData:
			if len(stack) > 0 {
				stack[len(stack)-1].Text += string(t)
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
func (n *Element) String() string {
	var b strings.Builder
	b.WriteString("<" + n.Name)
	for _, a := range n.Attrs {
		b.WriteString(" " + a)
	}
	b.WriteString(">" + strings.TrimSpace(n.Text))
	for _, k := range n.Kids {
		b.WriteString(k.String())
	}
	return b.String() + "</>"
}

// Attr returns the value of an attribute, "" when absent.
func (n *Element) Attr(name string) string {
	for _, a := range n.Attrs {
		if v, ok := strings.CutPrefix(a, name+"="); ok {
			return v
		}
	}
	return ""
}

// Find returns the first descendant whose name ends in local, or nil.
func (n *Element) Find(local string) *Element {
	for _, k := range n.Kids {
		if k.Name == local || strings.HasSuffix(k.Name, "}"+local) {
			return k
		}
		if d := k.Find(local); d != nil {
			return d
		}
	}
	return nil
}

// Matches compares with a pattern in which an attribute value of * stands for
// any.
func (n *Element) Matches(pattern *Element) bool {
	if n.Name != pattern.Name || len(n.Attrs) != len(pattern.Attrs) || len(n.Kids) != len(pattern.Kids) ||
		strings.TrimSpace(n.Text) != strings.TrimSpace(pattern.Text) {
		return false
	}
	for i, want := range pattern.Attrs {
		name, any := strings.CutSuffix(want, "=*")
		if n.Attrs[i] != want && !(any && strings.HasPrefix(n.Attrs[i], name+"=")) {
			return false
		}
	}
	for i := range n.Kids {
		if !n.Kids[i].Matches(pattern.Kids[i]) {
			return false
		}
	}
	return true
}
