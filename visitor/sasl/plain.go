package sasl

import (
	"bytes"
	"unicode/utf8"
)

type plainExchange struct {
	a *Authenticator
	c Client
}

// Step implements Exchange.
func (e *plainExchange) Step(msg []byte) ([]byte, *User, error) {
	if msg == nil {
		return nil, nil, nil // an empty challenge asks for the message
	}
	part := bytes.Split(msg, []byte{0})
	if len(part) != 3 || len(part[1]) == 0 || len(part[2]) == 0 || !utf8.Valid(msg) {
		return nil, nil, MalformedRequest
	}
	if !e.a.guesses.allowed(e.c.Address) {
		return nil, nil, TemporaryAuthFailure
	}
	user, acc, known := e.a.find(string(part[1]))
	e.a.deriving <- struct{}{}
	tried := e.a.guesses.try(e.c.Address)
	right := tried && acc.SHA256.verify(user, string(part[2]))
	<-e.a.deriving
	if !tried {
		return nil, nil, TemporaryAuthFailure
	}
	who, err := e.a.judge(e.c, right && known, User{user, acc.Admin}, string(part[0]))
	return nil, who, err
}
