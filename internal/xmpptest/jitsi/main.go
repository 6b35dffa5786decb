package jitsi

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"
)

// Main is the TestMain of a package that tests with the built program. It builds
// that, says where it is in *program, runs the tests, fails when they leave
// goroutines behind, and exits.
func Main(m *testing.M, program *string) { os.Exit(run(m, program)) }

func run(m *testing.M, program *string) (code int) {
	dir, err := os.MkdirTemp("", "vnode-test-")
	if err != nil {
		panic(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if *program, err = Build(context.Background(), dir); err != nil {
		panic(err)
	}
	code = m.Run()
	if err := goleak.Find(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return code
}
