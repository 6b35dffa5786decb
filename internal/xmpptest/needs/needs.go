// Package needs lets a test say which programs of others it runs.
//
// Such a test is skipped unless [Switch] is set, so that "go test ./..." passes
// on a machine that has nothing but Go. "make test" installs the programs and
// sets the switch; then no test is skipped, and a missing program fails the
// test that needs it.
package needs

import (
	"os"
	"strings"
)

// Switch is the environment variable that makes every test run. Any value but
// the empty one sets it.
const Switch = "TEST_EVERYTHING"

// T is the part of a testing.TB that [Programs] uses.
type T interface {
	Helper()
	Skipf(format string, args ...any)
}

// Programs skips the test unless [Switch] is set. The line it prints names the
// programs, which are the names of commands, and says how to run the test. Call
// it from the test's goroutine, before the test starts anything.
func Programs(t T, names ...string) {
	t.Helper()
	if All() {
		return
	}
	t.Skipf("needs %s; \"make test\" installs that and runs all tests", strings.Join(names, " and "))
}

// All reports whether [Switch] is set.
func All() bool { return os.Getenv(Switch) != "" }
