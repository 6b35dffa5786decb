package admin

import (
	"net/http"

	"vnode/cmd/internal/admin/access"
)

// allowed lets requests through that bear the token.
func (s *Server) allowed(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !s.gate.Exists():
			writeJSON(w, http.StatusForbidden, problem{"nobody may change anything here: there is no admin token"})
		case !s.gate.Bears(r):
			refuse(w)
		default:
			next(w, r)
		}
	}
}

// looks lets requests through that bear the token, and those of programs on
// this machine.
func (s *Server) looks(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.gate.Bears(r) && !access.Local(r) {
			refuse(w)
			return
		}
		next(w, r)
	}
}

// named lets requests through that bear the token, and those that come by an
// address or a name of this machine: see [access.Named].
func (s *Server) named(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.gate.Bears(r) && !s.knows(r) {
			writeJSON(w, http.StatusMisdirectedRequest, problem{
				"this listener is not known by the name in the Host header; ask by its address, by the machine's name, or with the admin token"})
			return
		}
		next.ServeHTTP(w, r)
	})
}

// knows reports whether a request comes by a name of this listener.
func (s *Server) knows(r *http.Request) bool { return access.Named(r, s.names...) }

func refuse(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="vnode"`)
	writeJSON(w, http.StatusUnauthorized, problem{"send the admin token: Authorization: Bearer …"})
}
