package api

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "correct horse battery staple"

// fake is a node with one room, and notes what is asked of it.
type fake struct {
	did    []string
	limits Limits
	block  chan struct{} // List waits for it, unless nil
	enter  chan struct{} // and says so
}

func (f *fake) note(format string, args ...any) { f.did = append(f.did, fmt.Sprintf(format, args...)) }

func (f *fake) known(room string) error {
	if room != "demo@conference.v3.meet.jitsi" {
		return fmt.Errorf("room %s: %w", room, ErrNotFound)
	}
	return nil
}

var demo = Room{Name: "demo@conference.v3.meet.jitsi", Address: "demo@conference.v3.meet.jitsi", Visitors: 3, Made: time.Unix(1000, 0).UTC()}

func (f *fake) List(ctx context.Context) ([]Room, error) {
	if f.block == nil {
		return []Room{demo}, nil
	}
	f.enter <- struct{}{}
	select {
	case <-f.block:
		return nil, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *fake) Look(_ context.Context, room string) (Room, People, error) {
	return demo, People{
		Participants: []Person{{ID: "main"}},
		Visitors:     []Person{{ID: "a", Name: "Ann", Address: "192.0.2.1"}, {ID: "b"}, {ID: "c"}},
	}, f.known(room)
}

func (f *fake) Kick(_ context.Context, room, visitor, reason string) error {
	f.note("kick %s %q", visitor, reason)
	return f.known(room)
}

func (f *fake) Ban(_ context.Context, o BanOrder) (Ban, error) {
	if o.Visitor == "nobody" {
		return Ban{}, fmt.Errorf("%w: who is that?", ErrConflict)
	}
	f.note("ban %s %s %t %t %q", o.Visitor, time.Duration(o.For), o.Everywhere, o.ByAddress, o.Reason)
	return Ban{ID: 7, UserID: "u", Until: time.Unix(2000, 0).UTC()}, f.known(o.Room)
}

func (f *fake) Bans() []Ban { return nil }

func (f *fake) Unban(id uint64) bool { f.note("unban %d", id); return id == 7 }

func (f *fake) Announce(_ context.Context, room, speaker, text string) (int, error) {
	f.note("announce %q %q", speaker, text)
	return 3, f.known(room)
}

func (f *fake) End(_ context.Context, room, reason string) error {
	f.note("end %q", reason)
	return f.known(room)
}

func (f *fake) Limits() Limits { return f.limits }

func (f *fake) ChangeLimits(change func(*Limits) error) (Limits, error) {
	l := f.limits
	if err := change(&l); err != nil {
		return Limits{}, err
	}
	if l.Rooms < 0 {
		return Limits{}, fmt.Errorf("%w: rooms", ErrInvalid)
	}
	f.limits = l
	return l, nil
}

func newAPI(f *fake) http.Handler { return New(f, token, slog.New(slog.DiscardHandler)) }

// ask sends a request; an empty token sends none.
func ask(h http.Handler, method, path, bearer, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://localhost:9090"+path, strings.NewReader(body))
	r.RemoteAddr = "127.0.0.1:5"
	if bearer != "" {
		r.Header.Set("Authorization", "Bearer "+bearer)
	}
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

const room = "/api/v1/rooms/demo@conference.v3.meet.jitsi"

func TestRequests(t *testing.T) {
	for _, c := range []struct {
		name, method, path, body string
		status                   int
		answer                   string // JSON, or part of an error
		did                      string
	}{
		{"rooms", "GET", "/api/v1/rooms", "", 200, `{"visitors":3,"rooms":[` + encoded(demo) + `]}`, ""},
		{"a second page", "GET", room + "?offset=1&limit=1", "", 200, strings.TrimSuffix(encoded(demo), "}") +
			`,"participantList":[` + encoded(Person{ID: "main"}) + `],"visitorList":[` + encoded(Person{ID: "b"}) + `]}`, ""},
		{"beyond the last page", "GET", room + "?offset=9", "", 200, strings.TrimSuffix(encoded(demo), "}") +
			`,"participantList":[` + encoded(Person{ID: "main"}) + `],"visitorList":[]}`, ""},
		{"a bad page", "GET", room + "?limit=x", "", 400, "limit", ""},
		{"a page too large", "GET", room + "?limit=10001", "", 400, "10000", ""},
		{"no such room", "GET", "/api/v1/rooms/other", "", 404, "not found", ""},
		{"end", "DELETE", room, `{"reason":"over"}`, 204, "", `end "over"`},
		{"end without a reason", "DELETE", room, "", 204, "", `end ""`},
		{"announce", "POST", room + "/announcements", `{"speaker":"Op","text":"Hi"}`, 200, `{"visitors":3}`, `announce "Op" "Hi"`},
		{"announce nothing", "POST", room + "/announcements", `{}`, 400, "text", ""},
		{"announce a book", "POST", room + "/announcements", `{"text":"` + strings.Repeat("x", 5000) + `"}`, 400, "4096", ""},
		{"kick", "DELETE", room + "/visitors/a%2Fb", `{"reason":"spam"}`, 204, "", `kick a/b "spam"`},
		{"misspelt", "DELETE", room + "/visitors/a", `{"raeson":"spam"}`, 400, "raeson", ""},
		{"not JSON", "DELETE", room + "/visitors/a", `reason`, 400, "body", ""},
		{"too large", "DELETE", room + "/visitors/a", `{"reason":"` + strings.Repeat("x", maxBody) + `"}`, 413, "too large", ""},
		{"ban", "POST", "/api/v1/bans", `{"room":"demo@conference.v3.meet.jitsi","visitor":"a"}`, 200,
			`{"id":7,"userId":"u","until":"1970-01-01T00:33:20Z","everywhere":false}`, `ban a 1h0m0s false false ""`},
		{"ban with all", "POST", "/api/v1/bans", `{"room":"demo@conference.v3.meet.jitsi","visitor":"a","for":"24h","everywhere":true,"byAddress":true,"reason":"x"}`, 200,
			`{"id":7,"userId":"u","until":"1970-01-01T00:33:20Z","everywhere":false}`, `ban a 24h0m0s true true "x"`},
		{"ban for ever", "POST", "/api/v1/bans", `{"room":"r","visitor":"a","for":"9000h"}`, 400, "between", ""},
		{"ban for no time", "POST", "/api/v1/bans", `{"room":"r","visitor":"a","for":"0s"}`, 400, "between", ""},
		{"ban for nonsense", "POST", "/api/v1/bans", `{"room":"r","visitor":"a","for":"soon"}`, 400, "not a duration", ""},
		{"ban nobody", "POST", "/api/v1/bans", `{"room":"r"}`, 400, "visitor", ""},
		{"ban who is not known", "POST", "/api/v1/bans", `{"room":"r","visitor":"nobody"}`, 409, "who is that", ""},
		{"bans", "GET", "/api/v1/bans", "", 200, `{"bans":[]}`, ""},
		{"unban", "DELETE", "/api/v1/bans/7", "", 204, "", "unban 7"},
		{"unban nobody", "DELETE", "/api/v1/bans/8", "", 404, "not found", "unban 8"},
		{"unban nonsense", "DELETE", "/api/v1/bans/x", "", 404, "not found", ""},
		{"no such path", "GET", "/api/v1/nonsense", "", 404, "OPERATORS-API.md", ""},
		{"wrong method", "PUT", room, "", 404, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := new(fake)
			w := ask(newAPI(f), c.method, c.path, token, c.body)
			require.Equal(t, c.status, w.Code, w.Body)
			if c.status == 200 {
				require.JSONEq(t, c.answer, w.Body.String())
			} else {
				require.Contains(t, w.Body.String(), c.answer)
			}
			require.Equal(t, c.did, strings.Join(f.did, ";"))
		})
	}
}

func encoded(v any) string {
	var b bytes.Buffer
	_ = json.NewEncoder(&b).Encode(v)
	return strings.TrimSpace(b.String())
}

// Without the token a program on this machine sees numbers and nothing else,
// and nobody changes anything.
func TestWhoMay(t *testing.T) {
	from := func(remote string) func(*http.Request) { return func(r *http.Request) { r.RemoteAddr = remote } }
	header := func(name, value string) func(*http.Request) {
		return func(r *http.Request) { r.Header.Set(name, value) }
	}
	host := func(h string) func(*http.Request) { return func(r *http.Request) { r.Host = h } }
	for _, c := range []struct {
		name, method, path, bearer string
		change                     func(*http.Request)
		status                     int
	}{
		{"look from here", "GET", room, "", from("[::1]:5"), 200},
		{"look on a Unix socket", "GET", room, "", from("@"), 200},
		{"look by address", "GET", room, "", host("127.0.0.1:9090"), 200},
		{"look by IPv6 address", "GET", room, "", host("[::1]:9090"), 200},
		{"look without a port", "GET", room, "", host("[::1]"), 200},
		{"look from elsewhere", "GET", room, "", from("192.0.2.1:5"), 401},
		{"look through a proxy here", "GET", room, "", header("X-Forwarded-For", "192.0.2.1"), 401},
		{"look by a page in a browser here", "GET", "/api/v1/rooms", "", host("evil.example:9090"), 401},
		{"list bans from here", "GET", "/api/v1/bans", "", from("127.0.0.1:5"), 401},
		{"read limits from here", "GET", "/api/v1/limits", "", from("127.0.0.1:5"), 401},
		{"kick from here", "DELETE", room + "/visitors/a", "", from("127.0.0.1:5"), 401},
		{"end from here", "DELETE", room, "", from("127.0.0.1:5"), 401},
		{"change limits from here", "PATCH", "/api/v1/limits", "", from("127.0.0.1:5"), 401},
		{"wrong token", "DELETE", room, token + "x", from("127.0.0.1:5"), 401},
		{"part of the token", "DELETE", room, token[:5], from("127.0.0.1:5"), 401},
		{"another scheme", "DELETE", room, "", header("Authorization", "Basic "+token), 401},
		{"token from elsewhere", "GET", room, token, from("192.0.2.1:5"), 200},
		{"scheme in other case", "DELETE", room, "", header("Authorization", "bearer "+token), 204},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := new(fake)
			w := ask(newAPI(f), c.method, c.path, c.bearer, "", c.change)
			require.Equal(t, c.status, w.Code, w.Body)
			require.Equal(t, c.status == 204, len(f.did) > 0)
			if c.status == 401 {
				require.NotEmpty(t, w.Header().Get("WWW-Authenticate"))
			}
			require.Equal(t, c.bearer == token && c.status == 200, strings.Contains(w.Body.String(), "Ann"))
		})
	}
}

func TestLimitsAreChangedOneByOne(t *testing.T) {
	f := &fake{limits: Limits{Rooms: 5, Visitors: 100, Chat: Chat{Audience: "all", Visitor: Rate{1, 5}, SlowMode: Duration(time.Minute)}}}
	h := newAPI(f)
	w := ask(h, "PATCH", "/api/v1/limits", token, `{"visitors":200,"chat":{"visitor":{"burst":9},"slowMode":"10s"}}`)
	require.Equal(t, 200, w.Code, w.Body)
	want := Limits{Rooms: 5, Visitors: 200, Chat: Chat{Audience: "all", Visitor: Rate{1, 9}, SlowMode: Duration(10 * time.Second)}}
	require.Equal(t, want, f.limits)
	require.JSONEq(t, encoded(want), w.Body.String())
	require.JSONEq(t, encoded(want), ask(h, "GET", "/api/v1/limits", token, "").Body.String())
	for _, bad := range []string{``, `null`, `[]`, `{"rooms":null}`, `{"chat":{"room":null}}`, `{"room":1}`, `{"rooms":"1"}`, `{"rooms":-1}`, `{"rooms":1`} {
		w := ask(h, "PATCH", "/api/v1/limits", token, bad)
		require.Equal(t, 400, w.Code, "%s: %s", bad, w.Body)
		require.Equal(t, want, f.limits)
	}
}

func TestRequestsAreBounded(t *testing.T) {
	f := &fake{block: make(chan struct{}), enter: make(chan struct{})}
	h := newAPI(f)
	ended := make(chan int)
	for range maxAtOnce {
		go func() { ended <- ask(h, "GET", "/api/v1/rooms", token, "").Code }()
		<-f.enter
	}
	w := ask(h, "GET", "/api/v1/rooms", token, "")
	require.Equal(t, http.StatusServiceUnavailable, w.Code)
	require.Equal(t, "1", w.Header().Get("Retry-After"))
	close(f.block)
	for range maxAtOnce {
		require.Equal(t, 200, <-ended)
	}
}

// FuzzPatch: whatever is sent, limits are either as they were or valid JSON
// again.
func FuzzPatch(f *testing.F) {
	f.Add(`{"visitors":200,"chat":{"visitor":{"burst":9},"slowMode":"10s"}}`)
	f.Add(`{"rooms":1e3,"Rooms":[{"a":null}]}`)
	f.Fuzz(func(t *testing.T, body string) {
		n := &fake{limits: Limits{Rooms: 5}}
		w := ask(newAPI(n), "PATCH", "/api/v1/limits", token, body)
		got, err := io.ReadAll(w.Body)
		require.NoError(t, err)
		require.True(t, json.Valid(got))
		if w.Code != http.StatusOK {
			require.Equal(t, http.StatusBadRequest, w.Code)
			require.Equal(t, Limits{Rooms: 5}, n.limits)
		}
	})
}
