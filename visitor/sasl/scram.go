package sasl

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/xdg-go/scram"
)

// scramExchange is RFC 5802's.
type scramExchange struct {
	a      *Authenticator
	c      Client
	bound  bool // it must use one of the client's bindings
	server *scram.Server
	conv   *scram.ServerConversation
	begun  bool

	// Set by the first message.
	user  string
	acc   Account
	known bool
}

func newSCRAM(a *Authenticator, c Client, bound bool, hash scram.HashGeneratorFcn, keys func(*Account) *Keys) Exchange {
	e := &scramExchange{a: a, c: c, bound: bound}
	// NewServer fails for no hash and no lookup, which cannot be here.
	e.server, _ = hash.NewServer(func(name string) (scram.StoredCredentials, error) {
		e.user, e.acc, e.known = a.find(unescapeName(name))
		return keys(&e.acc).credentials(), nil
	})
	return e
}

// Step implements Exchange.
func (e *scramExchange) Step(msg []byte) ([]byte, *User, error) {
	if msg == nil && !e.begun {
		return nil, nil, nil // an empty challenge asks for the message
	}
	if !utf8.Valid(msg) {
		return nil, nil, MalformedRequest
	}
	if !e.begun {
		e.begun = true
		if !e.a.guesses.allowed(e.c.Address) {
			return nil, nil, TemporaryAuthFailure
		}
		if err := e.begin(string(msg)); err != nil {
			return nil, nil, err
		}
		return e.first(string(msg))
	}
	if !e.a.guesses.try(e.c.Address) {
		return nil, nil, TemporaryAuthFailure
	}
	out, err := e.conv.Step(string(msg))
	if err != nil && out == "" { // unreadable; err may quote secrets
		return nil, nil, MalformedRequest
	}
	right := err == nil && e.known && e.conv.Valid()
	who, err := e.a.judge(e.c, right, User{e.user, e.acc.Admin}, unescapeName(e.conv.AuthzID()))
	return []byte(out), who, err
}

// first takes the client's first message. It holds no guess yet.
func (e *scramExchange) first(msg string) ([]byte, *User, error) {
	out, err := e.conv.Step(msg)
	switch {
	case err != nil && out == "":
		return nil, nil, MalformedRequest
	case err != nil:
		return []byte(out), nil, NotAuthorized
	}
	return []byte(out), nil, nil
}

// begin starts the conversation as the client's first message wants it (RFC
// 5802 §6): bound to its connection, and then with a binding that we offer, or
// not. A client that says we offer none, though we do, has been lied to.
func (e *scramExchange) begin(first string) error {
	kind, binds := strings.CutPrefix(first, "p=")
	kind, _, _ = strings.Cut(kind, ",")
	switch i := slices.IndexFunc(e.c.Bindings, func(b Binding) bool { return b.Type == kind }); {
	case binds != e.bound:
		return NotAuthorized
	case !binds && len(e.c.Bindings) > 0:
		e.conv = e.server.NewConversationWithChannelBinding(e.c.Bindings[0].scram())
	case !binds:
		e.conv = e.server.NewConversation()
	case i < 0:
		return NotAuthorized
	default:
		e.conv = e.server.NewConversationWithChannelBindingRequired(e.c.Bindings[i].scram())
	}
	return nil
}

// unescapeName decodes a saslname, RFC 5802 §5.1.
func unescapeName(s string) string {
	return strings.NewReplacer("=2C", ",", "=3D", "=").Replace(s)
}
