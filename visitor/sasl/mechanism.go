package sasl

import (
	"encoding/base64"
	"net/netip"
	"runtime"
	"strings"

	"github.com/xdg-go/scram"

	"vnode/internal/wire"
)

// Mechanisms, by their registered names.
const (
	Plain           = "PLAIN"
	SCRAMSHA1       = "SCRAM-SHA-1"
	SCRAMSHA256     = "SCRAM-SHA-256"
	SCRAMSHA1Plus   = "SCRAM-SHA-1-PLUS"
	SCRAMSHA256Plus = "SCRAM-SHA-256-PLUS"
)

// Failure is a condition of RFC 6120 §6.5.
type Failure string

// Error implements error.
func (f Failure) Error() string { return "SASL failure: " + string(f) }

// Conditions. NotAllowed is none of RFC 6120's: Jitsi's clients show its text.
const (
	Aborted              Failure = "aborted"
	EncryptionRequired   Failure = "encryption-required"
	IncorrectEncoding    Failure = "incorrect-encoding"
	InvalidAuthzid       Failure = "invalid-authzid"
	InvalidMechanism     Failure = "invalid-mechanism"
	MalformedRequest     Failure = "malformed-request"
	NotAllowed           Failure = "not-allowed"
	NotAuthorized        Failure = "not-authorized"
	TemporaryAuthFailure Failure = "temporary-auth-failure"
)

// User is who has proved to know a password.
type User struct {
	Name  string
	Admin bool
}

// Exchange is one run of a mechanism, for one goroutine.
type Exchange interface {
	// Step takes the client's next message, nil if it sent no initial
	// response, and returns what to send: additional data of the success
	// when who is not nil, else a challenge. The error is a [Failure]. It may
	// take some milliseconds, and wait for others that do.
	Step(msg []byte) (out []byte, who *User, err error)
}

// Client is what is known of who logs in.
type Client struct {
	// Address is what its guesses are counted under; they are not when it
	// is invalid.
	Address netip.Addr
	// Bindings are those of its TLS connection, if that ends here.
	Bindings []Binding
}

// Authenticator checks the passwords of a domain. Its methods may be called from
// any goroutine.
type Authenticator struct {
	domain   string
	accounts Accounts
	decoy    decoy
	guesses  *Guesses
	// deriving holds a token for each password that may be hashed at a time:
	// guessers must not take every core from those who are logged in.
	deriving chan struct{}
}

// NewAuthenticator returns the authenticator of a domain.
func NewAuthenticator(domain string, accounts Accounts, guesses *Guesses) *Authenticator {
	return &Authenticator{
		domain: domain, accounts: accounts, decoy: newDecoy(), guesses: guesses,
		deriving: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)),
	}
}

// Mechanisms are the names of all there are, the best first.
var Mechanisms = []string{SCRAMSHA256Plus, SCRAMSHA1Plus, SCRAMSHA256, SCRAMSHA1, Plain}

// Bound reports whether a mechanism needs a [Binding].
func Bound(mechanism string) bool { return mechanism == SCRAMSHA1Plus || mechanism == SCRAMSHA256Plus }

// Start begins an exchange of one of [Mechanisms].
func (a *Authenticator) Start(mechanism string, c Client) Exchange {
	switch mechanism {
	case Plain:
		return &plainExchange{a, c}
	case SCRAMSHA1, SCRAMSHA1Plus:
		return newSCRAM(a, c, Bound(mechanism), scram.SHA1, func(a *Account) *Keys { return &a.SHA1 })
	}
	return newSCRAM(a, c, Bound(mechanism), scram.SHA256, func(a *Account) *Keys { return &a.SHA256 })
}

// find returns the account of a user as the client wrote it, and its
// normalised name, or a decoy.
func (a *Authenticator) find(user string) (name string, acc Account, known bool) {
	j, err := wire.ParseJID(user + "@" + a.domain)
	if err != nil || j.Local == "" || j.Domain != a.domain || j.Resource != "" {
		return user, a.decoy.account(user), false
	}
	if acc, ok := a.accounts.Account(j.Local); ok {
		return j.Local, acc, true
	}
	return j.Local, a.decoy.account(j.Local), false
}

// judge turns the outcome of an exchange into an answer. The guess has been
// counted, and is no longer if it was right.
func (a *Authenticator) judge(c Client, right bool, user User, authzid string) (*User, error) {
	if !right {
		return nil, NotAuthorized
	}
	a.guesses.right(c.Address)
	if !a.mayAct(user.Name, authzid) {
		return nil, InvalidAuthzid
	}
	return &user, nil
}

// mayAct reports whether a user may act as authzid: as itself.
func (a *Authenticator) mayAct(user, authzid string) bool {
	if authzid == "" {
		return true
	}
	j, err := wire.ParseJID(authzid)
	return err == nil && j == wire.JID{Local: user, Domain: a.domain}
}

// Decode decodes the text of <auth/>, which is initial, or <response/> (RFC
// 6120 §6.4.2): nil for no initial response, empty for "=". White space, by which
// some lay out what they send, does not count. The error is a [Failure].
func Decode(text string, initial bool) ([]byte, error) {
	text = strings.Join(strings.Fields(text), "")
	switch {
	case text == "" && initial:
		return nil, nil
	case text == "" || text == "=" && initial:
		return []byte{}, nil
	}
	msg, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil {
		return nil, IncorrectEncoding
	}
	return msg, nil
}

// Encode is the text of <challenge/> and <success/>.
func Encode(msg []byte) string { return base64.StdEncoding.EncodeToString(msg) }
