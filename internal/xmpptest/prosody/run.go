package prosody

import (
	"context"
	"errors"
	"time"

	"vnode/internal/xmpptest/needs"
)

// T is what [Run] needs of a testing.TB.
type T interface {
	Helper()
	Context() context.Context
	Cleanup(func())
	Failed() bool
	Logf(format string, args ...any)
	Skipf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// Run starts a server for a test, which fails at once if that does not work.
// [needs.Programs] decides whether the test is run at all. The server is killed
// at the end of the test, since a clean stop takes Prosody a second or more; a
// test of a clean one calls Stop. A failed test logs the end of the server's log.
func Run(t T, opts Options) *Server {
	t.Helper()
	needs.Programs(t, "prosody")
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	s, err := Start(ctx, opts)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("end of the log of prosody:\n%s", s.LogTail(100))
		}
		err := errors.Join(s.Kill(), s.Stop(context.Background()))
		if err != nil {
			t.Errorf("stop prosody: %v", err)
		}
	})
	return s
}
