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

func refuse(w http.ResponseWriter) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="vnode"`)
	writeJSON(w, http.StatusUnauthorized, problem{"send the admin token: Authorization: Bearer …"})
}
