package visitor

import (
	"bytes"
	"encoding/base64"
	"strings"
	"unicode/utf8"

	"github.com/xdg-go/scram"

	"vnode/internal/wire"
)

// Mechanisms, by their registered names.
const (
	mechAnonymous   = "ANONYMOUS" // RFC 4505
	mechPlain       = "PLAIN"     // RFC 4616
	mechSCRAMSHA1   = "SCRAM-SHA-1"
	mechSCRAMSHA256 = "SCRAM-SHA-256"
)

// saslFailure is a condition of RFC 6120 §6.5.
type saslFailure string

// Error implements error.
func (f saslFailure) Error() string { return "SASL failure: " + string(f) }

const (
	failAborted            saslFailure = "aborted"
	failEncryptionRequired saslFailure = "encryption-required"
	failIncorrectEncoding  saslFailure = "incorrect-encoding"
	failInvalidAuthzid     saslFailure = "invalid-authzid"
	failInvalidMechanism   saslFailure = "invalid-mechanism"
	failMalformedRequest   saslFailure = "malformed-request"
	failNotAuthorized      saslFailure = "not-authorized"
)

// login is who a client has proved to be.
type login struct {
	user  string
	admin bool
	// named says that the name is from users.take, and to be released.
	named bool
	// resuming says that the name is that of an anonymous client's session
	// which this client may resume: it knows the session's id.
	resuming bool
}

// exchange is one run of a mechanism.
type exchange interface {
	// step takes the client's next message, nil if it sent no initial
	// response, and returns what to send: additional data of the success
	// when who is not nil, else a challenge. The error is a saslFailure.
	step(msg []byte) (out []byte, who *login, err error)
}

// mechanism is one a domain offers.
type mechanism struct {
	name  string
	start func(*stream) exchange
}

// authenticator makes the exchanges of the auth domain.
type authenticator struct {
	domain   string
	accounts Accounts
	decoy    decoy
	// deriving holds a token for each password that may be hashed at a time:
	// guessers must not take every core from the visitors.
	deriving chan struct{}
}

func (a *authenticator) mechanisms() []mechanism {
	hashed := func(name string, hash scram.HashGeneratorFcn, keys func(*Account) *Keys) mechanism {
		return mechanism{name, func(*stream) exchange { return newSCRAM(a, hash, keys) }}
	}
	return []mechanism{
		hashed(mechSCRAMSHA256, scram.SHA256, func(a *Account) *Keys { return &a.SHA256 }),
		hashed(mechSCRAMSHA1, scram.SHA1, func(a *Account) *Keys { return &a.SHA1 }),
		{mechPlain, func(*stream) exchange { return &plainExchange{a} }},
	}
}

// find returns the account of a user as the client wrote it, and its
// normalised name, or a decoy.
func (a *authenticator) find(user string) (name string, acc Account, known bool) {
	j, err := wire.ParseJID(user + "@" + a.domain)
	if err != nil || j.Local == "" || j.Domain != a.domain || j.Resource != "" {
		return user, a.decoy.account(user), false
	}
	if acc, ok := a.accounts.Account(j.Local); ok {
		return j.Local, acc, true
	}
	return j.Local, a.decoy.account(j.Local), false
}

// mayAct reports whether a user may act as authzid: as itself.
func (a *authenticator) mayAct(user, authzid string) bool {
	if authzid == "" {
		return true
	}
	j, err := wire.ParseJID(authzid)
	return err == nil && j == wire.JID{Local: user, Domain: a.domain}
}

// anonymousExchange accepts everybody. What a client sends as trace
// information (RFC 4505 §2) is of no use here.
type anonymousExchange struct {
	srv    *Server
	previd string
}

// step names the client: as before if it named the session it comes back to,
// for only the session's own user may resume it (XEP-0198 §5).
func (e anonymousExchange) step([]byte) ([]byte, *login, error) {
	if sess := e.srv.resumable(e.previd); sess != nil && sess.named {
		return nil, &login{user: sess.jid.Local, resuming: true}, nil
	}
	return nil, &login{user: e.srv.users.take(), named: true}, nil
}

type plainExchange struct{ a *authenticator }

func (e *plainExchange) step(msg []byte) ([]byte, *login, error) {
	if msg == nil {
		return nil, nil, nil // an empty challenge asks for the message
	}
	part := bytes.Split(msg, []byte{0})
	if len(part) != 3 || len(part[1]) == 0 || len(part[2]) == 0 || !utf8.Valid(msg) {
		return nil, nil, failMalformedRequest
	}
	user, acc, known := e.a.find(string(part[1]))
	e.a.deriving <- struct{}{}
	right := acc.SHA256.verify(user, string(part[2]))
	<-e.a.deriving
	switch {
	case !right || !known:
		return nil, nil, failNotAuthorized
	case !e.a.mayAct(user, string(part[0])):
		return nil, nil, failInvalidAuthzid
	}
	return nil, &login{user: user, admin: acc.Admin}, nil
}

// scramExchange is RFC 5802's.
type scramExchange struct {
	a     *authenticator
	conv  *scram.ServerConversation
	begun bool

	// Set by the first message.
	user  string
	acc   Account
	known bool
}

func newSCRAM(a *authenticator, hash scram.HashGeneratorFcn, keys func(*Account) *Keys) exchange {
	e := &scramExchange{a: a}
	// NewServer fails for no hash and no lookup, which cannot be here.
	srv, _ := hash.NewServer(func(name string) (scram.StoredCredentials, error) {
		e.user, e.acc, e.known = a.find(unescapeName(name))
		return keys(&e.acc).credentials(), nil
	})
	e.conv = srv.NewConversation()
	return e
}

func (e *scramExchange) step(msg []byte) ([]byte, *login, error) {
	if msg == nil && !e.begun {
		return nil, nil, nil // an empty challenge asks for the message
	}
	e.begun = true
	if !utf8.Valid(msg) {
		return nil, nil, failMalformedRequest
	}
	out, err := e.conv.Step(string(msg))
	switch {
	case err != nil && out == "": // unreadable; err may quote secrets
		return nil, nil, failMalformedRequest
	case err != nil:
		return nil, nil, failNotAuthorized
	case !e.conv.Done():
		return []byte(out), nil, nil
	case !e.known || !e.conv.Valid():
		return nil, nil, failNotAuthorized
	case !e.a.mayAct(e.user, unescapeName(e.conv.AuthzID())):
		return nil, nil, failInvalidAuthzid
	}
	return []byte(out), &login{user: e.user, admin: e.acc.Admin}, nil
}

// unescapeName decodes a saslname, RFC 5802 §5.1.
func unescapeName(s string) string {
	return strings.NewReplacer("=2C", ",", "=3D", "=").Replace(s)
}

// decodeSASL decodes the text of <auth/> or <response/> (RFC 6120 §6.4.2): nil
// for no initial response, empty for "=".
func decodeSASL(text string, initial bool) ([]byte, error) {
	switch {
	case text == "" && initial:
		return nil, nil
	case text == "" || text == "=" && initial:
		return []byte{}, nil
	}
	msg, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, failIncorrectEncoding
	}
	return msg, nil
}

func encodeSASL(msg []byte) string { return base64.StdEncoding.EncodeToString(msg) }
