package wire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestClipKeepsCharactersWhole(t *testing.T) {
	require.Equal(t, "abc", Clip("abc", 3))
	require.Equal(t, "ab", Clip("abc", 2))
	require.Equal(t, "a", Clip("aé", 2))
	require.Equal(t, "", Clip("é", 1))
	require.Equal(t, strings.Repeat("é", 5), Clip(strings.Repeat("é", 9), 11))
}
