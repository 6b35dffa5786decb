package prosody

import (
	"context"
	"encoding/xml"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// element is any XML element, as the tests look at stanzas.
type element struct {
	XMLName  xml.Name
	Attrs    []xml.Attr `xml:",any,attr"`
	Children []element  `xml:",any"`
	Text     string     `xml:",chardata"`
}

func (e element) attr(name string) string {
	for _, a := range e.Attrs {
		if a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// find walks down by local names; a missing element is the zero element.
func (e element) find(path ...string) element {
	for _, name := range path {
		var next element
		for _, c := range e.Children {
			if c.XMLName.Local == name {
				next = c
				break
			}
		}
		e = next
	}
	return e
}

func (e element) has(path ...string) bool { return e.find(path...).XMLName.Local != "" }

func (e element) hasSpace(local, space string) bool {
	for _, c := range e.Children {
		if c.XMLName == (xml.Name{Space: space, Local: local}) {
			return true
		}
	}
	return false
}

func (e element) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "<%s", e.XMLName.Local)
	for _, a := range e.Attrs {
		fmt.Fprintf(&b, " %s='%s'", a.Name.Local, a.Value)
	}
	b.WriteString(">" + e.Text)
	for _, c := range e.Children {
		b.WriteString(c.String())
	}
	return b.String() + "</>"
}

// errorCondition of a stanza of type error.
func (e element) errorCondition() string {
	if children := e.find("error").Children; len(children) > 0 {
		return children[0].XMLName.Local
	}
	return ""
}

// inbox keeps what arrives in order of arrival until a test takes it.
type inbox[E fmt.Stringer] chan E

func newInbox[E fmt.Stringer]() inbox[E] { return make(inbox[E], 1024) }

// take returns the first arrival that matches and drops those before it.
func (b inbox[E]) take(t *testing.T, what string, match func(E) bool) E {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var dropped []string
	for {
		select {
		case e := <-b:
			if match(e) {
				return e
			}
			dropped = append(dropped, e.String())
		case <-ctx.Done():
			require.FailNow(t, "did not arrive: "+what, "only these arrived:\n%s", strings.Join(dropped, "\n"))
		}
	}
}

// next returns the next arrival, whatever it is.
func (b inbox[E]) next(t *testing.T, what string) E {
	t.Helper()
	return b.take(t, what, func(E) bool { return true })
}

func presenceFrom(from string) func(element) bool {
	return func(e element) bool { return e.XMLName.Local == "presence" && e.attr("from") == from }
}

func bodyIs(text string) func(element) bool {
	return func(e element) bool { return e.XMLName.Local == "message" && e.find("body").Text == text }
}

func answerTo(id string) func(element) bool {
	return func(e element) bool {
		return e.attr("id") == id && (e.attr("type") == "result" || e.attr("type") == "error")
	}
}
