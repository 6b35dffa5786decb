package bosh

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
)

// FuzzBody throws bytes at the parser of requests: what it accepts is a body
// within its limits, and its elements are whole.
func FuzzBody(f *testing.F) {
	body := func(attrs, content string) string {
		return "<body xmlns='" + nsBind + "'" + attrs + ">" + content + "</body>"
	}
	for _, s := range []string{
		createFmt, "", "<", "<body/>", "<!DOCTYPE a><body/>", "\xef\xbb\xbf<body/>",
		body(" rid='1' sid='a'", ping+presence),
		body(" rid='1' sid='a' type='terminate'", "<presence type='unavailable'/>"),
		body(" rid='2' sid='a' pause='60' key='x' newkey='y'", ""),
		body(" rid='3' sid='&lt;&#10;' xmpp:restart='true' xmlns:xmpp='urn:xmpp:xbosh'", " text <a/> <![CDATA[<b>]]> <c><d/></c>"),
		body(" rid='4' sid='a' xmlns:s='x'", "<s:a/><b xmlns:s='y'><s:c/></b>"),
		body(" rid='5'", "") + " ", body(" rid='18446744073709551616'", ""),
	} {
		f.Add([]byte(s))
	}
	const limit = 4 << 10
	f.Fuzz(func(t *testing.T, in []byte) {
		r, err := parseRequest(in, limit)
		if err != nil {
			var e Error
			require.True(t, errors.As(err, &e))
			return
		}
		require.NoError(t, wire.CheckWellFormed([]byte(strings.TrimLeft(string(in), " \t\r\n")), wire.Limits{MaxBytes: limit}))
		require.True(t, r.rid > 0 && r.rid <= maxRID)
		require.True(t, r.hold >= 0 && r.hold <= maxHold)
		require.True(t, r.wait >= 0 && r.pause >= 0)
		inProfile := wire.Check([]byte(strings.TrimLeft(string(in), " \t\r\n")), wire.Limits{MaxBytes: limit}) == nil
		for _, e := range r.elements {
			_, err := wire.ParseHeader(e)
			require.NoError(t, err)
			// Alone it lacks what the body declares, and nothing else. Its
			// prefixes are not looked at behind what is outside the profile.
			if err := wire.CheckWellFormed(e, wire.Limits{MaxBytes: limit}); err != nil && inProfile {
				require.Equal(t, wire.BadNamespacePrefix, wire.AsStreamError(err).Condition)
			}
		}
	})
}

// FuzzSession plays a session: each byte is a step. Whatever comes, the session
// ends, and what it says is well-formed.
func FuzzSession(f *testing.F) {
	f.Add([]byte("abcdefghijklmnopqrstuvwxyz"))
	f.Add([]byte("aaaa"))
	f.Add([]byte("bdbdbdbd"))
	f.Add([]byte("efefghgh"))
	f.Fuzz(func(t *testing.T, steps []byte) {
		if len(steps) > 200 {
			return
		}
		srv := NewServer(Config{}, nil)
		create, err := parseRequest([]byte(createFmt), 1<<10)
		require.NoError(t, err)
		c := newConn(srv, "sid", create, newRequest())
		require.True(t, srv.add(c))
		waiters := []*waiter{c.begin(create)}
		for i, b := range steps {
			rid := c.last + uint64(b>>4)%5 - 1
			r := &request{sid: "sid", rid: max(1, rid)}
			switch b % 8 {
			case 0:
				waiters = append(waiters, c.receive(r))
			case 1:
				r.elements = [][]byte{[]byte(ping)}
				waiters = append(waiters, c.receive(r))
			case 2:
				r.terminate = true
				waiters = append(waiters, c.receive(r))
			case 3:
				c.left(rid, waiters[i%len(waiters)])
			case 4:
				_, _ = c.put([]byte(pong))
			case 5:
				_, _, _ = c.poll()
			case 6:
				c.tick()
			case 7:
				if i%5 == 0 {
					_ = c.CloseWrite()
				}
			}
		}
		_ = c.Close()
		c.mu.Lock()
		if !c.told {
			c.over() // as inactivity would
		}
		c.mu.Unlock()
		require.Empty(t, srv.sessions)
		for _, w := range waiters {
			select {
			case <-w.ready:
				if w.body != nil {
					require.NoError(t, wire.CheckWellFormed(w.body, wire.Limits{MaxBytes: 1 << 20}))
				}
			default: // its client had left
			}
		}
	})
}

func newRequest() *http.Request { return httptest.NewRequest(http.MethodPost, "/http-bind", nil) }
