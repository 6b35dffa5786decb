package visitor

import "vnode/visitor/sasl"

// errNoAdmins is told to a focus that is refused.
var errNoAdmins = saslFailure{sasl.TemporaryAuthFailure, "the node drains and takes no conferences"}

// RefuseAdmins lets the focus log in no more while on: its logins fail with
// temporary-auth-failure (RFC 6120 §6.5.10), after which jicofo tries again each
// second and takes other nodes meanwhile. Sessions that are open go on, see
// EndAdmins.
func (s *Server) RefuseAdmins(on bool) { s.noAdmins.Store(on) }

// EndAdmins ends the focus's sessions with system-shutdown, and returns how many
// were open. It does not wait for them. A stream that ended without an error
// would keep jicofo from connecting again.
func (s *Server) EndAdmins() (open int) {
	admins := s.openAdmins()
	for _, sess := range admins {
		sess.end(streamReason(errShutdown))
	}
	return len(admins)
}

func (s *Server) openAdmins() (admins []*Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for sess := range s.sessions.All() {
		if sess.admin && sess.ending.Load() == nil {
			admins = append(admins, sess)
		}
	}
	return admins
}

// mayLogIn refuses who has proved to be an admin while none is wanted.
func (s *Server) mayLogIn(who *login) error {
	if who != nil && who.admin && s.noAdmins.Load() {
		return errNoAdmins
	}
	return nil
}
