package needs

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

type recorder struct{ said string }

func (*recorder) Helper() {}

func (r *recorder) Skipf(format string, args ...any) { r.said = fmt.Sprintf(format, args...) }

func TestATestIsSkippedWithAWordUnlessTheSwitchIsSet(t *testing.T) {
	t.Setenv(Switch, "")
	var without recorder
	Programs(&without, "prosody", "nginx")
	require.Equal(t, `needs prosody and nginx; "make test" installs that and runs all tests`, without.said)

	t.Setenv(Switch, "1")
	var with recorder
	Programs(&with, "prosody")
	require.Empty(t, with.said)
}
