package visitor

import (
	"context"
	"errors"

	"vnode/internal/wire"
	"vnode/visitor/sasl"
	"vnode/visitor/token"
)

const mechAnonymous = "ANONYMOUS" // RFC 4505

// login is who a client has proved to be.
type login struct {
	user  string
	admin bool
	// named says that the name is from users.take, and to be released.
	named bool
	// resuming says that the name is that of an anonymous client's session
	// which this client may resume: it knows the session's id.
	resuming bool
	// grant is what the client's token allows; nil without one.
	grant *token.Grant
}

// anonymous reports whether the client has no account.
func (l *login) anonymous() bool { return l.named || l.resuming }

// exchange is one run of a mechanism.
type exchange interface {
	// step takes the client's next message, nil if it sent no initial
	// response, and returns what to send: additional data of the success
	// when who is not nil, else a challenge. The error is one that failureOf knows.
	step(msg []byte) (out []byte, who *login, err error)
}

// saslFailure is what a login fails with.
type saslFailure struct {
	condition sasl.Failure
	text      string // for the user; may be empty
}

// Error implements error.
func (f saslFailure) Error() string { return f.condition.Error() }

// failureOf says how a client is told that its login failed. Jitsi's clients
// show the text of <not-allowed/>, if it stands directly behind that and has no
// attributes. False means that the stream ends for err.
func failureOf(err error) (saslFailure, bool) {
	var refused token.Refusal
	var condition sasl.Failure
	var failure saslFailure
	switch {
	case errors.As(err, &failure):
		return failure, true
	case errors.As(err, &refused):
		return saslFailure{sasl.NotAllowed, string(refused)}, true
	case errors.As(err, &condition):
		return saslFailure{condition: condition}, true
	}
	return saslFailure{}, false
}

func (f saslFailure) element() []byte {
	b := wire.NewBuilder(nil).Start("failure", "xmlns", wire.NSSASL).Elem(string(f.condition), "")
	if f.text != "" {
		b.Elem("text", f.text)
	}
	return b.Bytes()
}

// mechanism is one a domain offers.
type mechanism struct {
	name  string
	bound bool // it needs a TLS connection that ends here
	start func(*stream) exchange
}

// passwords are the mechanisms of a domain with accounts.
func passwords(a *sasl.Authenticator) []mechanism {
	var list []mechanism
	for _, name := range sasl.Mechanisms {
		list = append(list, mechanism{name, sasl.Bound(name), func(st *stream) exchange {
			return passwordExchange{a.Start(name, sasl.Client{Address: st.peer, Bindings: st.bindings})}
		}})
	}
	return list
}

type passwordExchange struct{ sasl.Exchange }

func (e passwordExchange) step(msg []byte) ([]byte, *login, error) {
	out, user, err := e.Step(msg)
	if user == nil || err != nil {
		return out, nil, err
	}
	return out, &login{user: user.Name, admin: user.Admin}, nil
}

// anonymousExchange accepts everybody, or everybody with a good token. What a
// client sends as trace information (RFC 4505 §2) is of no use here.
type anonymousExchange struct {
	srv *Server
	st  *stream
}

// step names the client: as before if its URL named the session it comes back
// to, for only the session's own user may resume it (XEP-0198 §5).
func (e anonymousExchange) step([]byte) ([]byte, *login, error) {
	grant, err := e.srv.verify(e.st)
	if err != nil {
		return nil, nil, err
	}
	if sess := e.srv.resumable(e.st.request.PrevID); sess != nil && sess.named {
		return nil, &login{user: sess.address.localpart(), resuming: true, grant: grant}, nil
	}
	return nil, &login{user: e.srv.users.take(), named: true, grant: grant}, nil
}

// verify checks the token of a connection's request. The error is a
// token.Refusal.
func (s *Server) verify(st *stream) (*token.Grant, error) {
	if s.cfg.Tokens == nil {
		return nil, nil
	}
	ctx, cancel := context.WithTimeout(s.lifetime, s.cfg.Limits.Negotiation)
	defer cancel()
	return s.cfg.Tokens.Verify(token.From(ctx, st.peer), st.request.Token, st.request.Tenant)
}
