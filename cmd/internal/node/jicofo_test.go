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

// The node counts who is in main's room as jicofo tells it, and reads no further than
// that: what jicofo tells of ten thousand visitors comes behind.
func TestCountParticipants(t *testing.T) {
	member := `"%s":{"region":"null","jid":"a@meet.jitsi/x","is_jibri":%t,"is_transcriber":%t,"features":["AUDIO"]}`
	room := `{"name":"demo@conference.meet.jitsi","config":{"a":[1,{}]},"chat_room":{"room_jid":"x","members":{` +
		fmt.Sprintf(member, "one", false, false) + "," + fmt.Sprintf(member, "two", false, false) + "," +
		fmt.Sprintf(member, "jibri", true, false) + "," + fmt.Sprintf(member, "text", false, true) + `}},"participants":{`
	code, body := http.StatusOK, ""
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "GET" || r.URL.Path != "/debug/conference/demo@conference.tenant.meet.jitsi" {
			t.Errorf("asked %s %s", r.Method, r.URL)
		}
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}))
	defer server.Close()
	count := func() (int, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		return jicofo{server.URL}.count(ctx, "demo@conference.tenant.meet.jitsi")
	}
	for text, want := range map[string]int{
		room + strings.Repeat(" ", maxConference): 2,
		room + "}}":                    2,
		`{"chat_room":{"members":{}}}`: 0,
		`{"name":"other"}`:             0,
		`{}`:                           0, // it has no such conference
	} {
		body = text
		n, err := count()
		require.NoError(t, err)
		require.Equal(t, want, n, "%.80s", text)
	}
	for text, want := range map[string]string{
		`[]`:                            "no JSON object",
		`{"name":`:                      "broke off",
		`{"name"`:                       "broke off",
		`{"chat_room":{"members":[1]}}`: "not understood",
	} {
		body = text
		_, err := count()
		require.ErrorContains(t, err, want)
	}
	code = http.StatusNotFound
	_, err := count()
	require.ErrorContains(t, err, "jicofo.rest.debug")
	server.Close()
	_, err = count()
	require.ErrorContains(t, err, "is jicofo-url right")
}
