package wire_test

import (
	"fmt"

	"vnode/internal/wire"
)

// A stanza is checked and parsed once; a copy outlives the buffer it was read into.
func ExampleParseStanza() {
	raw := []byte(`<message to='room@conference.example/nick' type='chat'><body>Hello</body></message>`)
	if err := wire.Check(raw, wire.Limits{}); err != nil {
		fmt.Println(err)
		return
	}
	st, err := wire.ParseStanza(raw)
	if err != nil {
		fmt.Println(err)
		return
	}
	body, _ := st.Child("", "body")
	fmt.Println(string(st.Name), st.To.Resource, body.Text())
	// Output: message nick Hello
}

// A stanza is forwarded by writing its start tag anew; the rest is copied as it is.
func ExampleHeader_AppendStamped() {
	st, err := wire.ParseStanza([]byte(`<iq to='a@example/x' from='b@example' id='1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>`))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", st.AppendStamped(nil, st.Raw, wire.Stamp{To: "c@example/y", From: "room@example/b", ID: "1", Type: "get"}))
	// Output: <iq to='c@example/y' from='room@example/b' id='1' type='get'><ping xmlns='urn:xmpp:ping'/></iq>
}

// What some parser could not read is told by its kind.
func ExampleAccept() {
	_, outside, err := wire.Accept([]byte(`<message><a xmlns='http://etherx.jabber.org/streams'/></message>`), wire.Limits{})
	fmt.Println(outside, err)
	// Output: stanza outside the profile: element of the streams namespace in a stanza <nil>
}
