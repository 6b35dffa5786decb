package prosody

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if os.Getenv(orphanDir) != "" {
		os.Exit(runUntilKilled())
	}
	goleak.VerifyTestMain(m)
}
