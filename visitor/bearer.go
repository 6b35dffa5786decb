package visitor

import "vnode/visitor/token"

// bearer is what a connection's request has told of its client, apart from the
// stream. It is never changed.
type bearer struct {
	identity *token.Identity // nil without a token
	region   string          // as the proxy says
}

// Identity is what the client's token has proved, nil without a token. It may be
// another one when the client has resumed its session with a new token.
func (s *Session) Identity() *token.Identity {
	if b := s.bearer.Load(); b != nil {
		return b.identity
	}
	return nil
}

// Region is where the proxy says the client is, "" if it does not.
func (s *Session) Region() string {
	if b := s.bearer.Load(); b != nil {
		return b.region
	}
	return ""
}
