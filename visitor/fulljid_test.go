package visitor

import (
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
)

func TestFullJIDIsWhatItWasMadeOf(t *testing.T) {
	for _, text := range []string{"user@v3.meet.jitsi/resource", "focus@auth.meet.jitsi/a/b@c", "ü@x/ö"} {
		j, err := wire.ParseJID(text)
		require.NoError(t, err)
		f := newFullJID(j)
		require.Equal(t, text, f.text)
		require.Equal(t, j.Local, f.localpart())
		require.Equal(t, j, f.jid())
	}
}

// There are thousands of these: one more field is a size class more.
func TestSizes(t *testing.T) {
	require.LessOrEqual(t, unsafe.Sizeof(Session{}), uintptr(176))
	require.LessOrEqual(t, unsafe.Sizeof(wsStream{}), uintptr(384))
}
