package node

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The node asks jicofo as a page that wants to be a visitor does, and every answer
// that names no node is an error that says why.
func TestAskJicofo(t *testing.T) {
	answer := func(w http.ResponseWriter) { fmt.Fprint(w, `{"room":"demo","vnode":"v3","ready":true}`) }
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var ask conferenceRequest
		if err := json.NewDecoder(r.Body).Decode(&ask); err != nil || r.Method != "POST" || r.URL.Path != "/conference-request/v1" || r.Header.Get("Content-Type") != "application/json" ||
			ask.Room != "demo@conference.tenant.meet.jitsi" || ask.Properties["visitor"] != "true" || ask.Properties["visitors-version"] != "1" {
			t.Errorf("asked %s %s %+v", r.Method, r.URL, ask)
		}
		answer(w)
	}))
	defer server.Close()
	ask := func() (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		return jicofo{server.URL}.ask(ctx, "demo@conference.tenant.meet.jitsi")
	}
	node, err := ask()
	require.NoError(t, err)
	require.Equal(t, "v3", node)
	for want, broken := range map[string]func(w http.ResponseWriter){
		"refused the conference request: 403": func(w http.ResponseWriter) { w.WriteHeader(http.StatusForbidden) },
		"is no conference request":            func(w http.ResponseWriter) { fmt.Fprint(w, "<html>") },
		"chose no node":                       func(w http.ResponseWriter) { fmt.Fprint(w, `{"ready":true}`) },
		"no conference request: unexpected":   func(w http.ResponseWriter) { fmt.Fprint(w, `{"vnode":"`+strings.Repeat("x", maxAnswer)+`"}`) },
	} {
		answer = broken
		_, err := ask()
		require.ErrorContains(t, err, want)
	}
	server.Close()
	_, err = ask()
	require.ErrorContains(t, err, "is jicofo-url right")
}
