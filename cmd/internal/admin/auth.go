package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"
)

// allowed lets requests through that bear the token.
func (s *Server) allowed(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case s.o.Token == "":
			writeJSON(w, http.StatusForbidden, problem{"nobody may change anything here: there is no admin token"})
		case !s.authorized(r):
			w.Header().Set("WWW-Authenticate", `Bearer realm="vnode"`)
			writeJSON(w, http.StatusUnauthorized, problem{"send the admin token: Authorization: Bearer …"})
		default:
			next(w, r)
		}
	}
}

// authorized compares digests, so that neither the time it takes nor the
// length of a wrong token tells anything of the right one.
func (s *Server) authorized(r *http.Request) bool {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok || s.o.Token == "" {
		return false
	}
	a, b := sha256.Sum256([]byte(strings.TrimSpace(given))), sha256.Sum256([]byte(s.o.Token))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}
