package port

import (
	"net"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A held port is for who asks for it by number, again and again, with one
// address or with all.
func TestAHeldPortIsListenedOn(t *testing.T) {
	p, err := Hold()
	require.NoError(t, err)
	defer p.Close()
	_, every, err := net.SplitHostPort(p.String())
	require.NoError(t, err)
	for _, address := range []string{p.String(), ":" + every, p.String()} {
		_, err = net.Dial("tcp", p.String())
		require.ErrorIs(t, err, syscall.ECONNREFUSED)
		l, err := net.Listen("tcp", address)
		require.NoError(t, err)
		c, err := net.Dial("tcp", p.Addr().String())
		require.NoError(t, err)
		require.NoError(t, c.Close())
		require.NoError(t, l.Close())
	}
	require.NoError(t, p.Close())
	require.NoError(t, p.Close(), "again")
	require.NoError(t, (*Port)(nil).Close())
}

func TestNobodyElseIsGivenAHeldPort(t *testing.T) {
	const n = 200
	all, err := HoldAll(n)
	require.NoError(t, err)
	held := make(map[string]bool)
	for _, p := range all {
		held[p.String()] = true
		_, err := take(p.Addr().Port())
		require.ErrorIs(t, err, syscall.EADDRINUSE)
	}
	require.Len(t, held, n)
	for range n {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		require.NoError(t, err)
		defer l.Close()
		require.NotContains(t, held, l.Addr().String())
	}
	require.NoError(t, all.Close())
	again, err := take(all[0].Addr().Port())
	require.NoError(t, err)
	require.NoError(t, again.Close())
}

// Rows leave out what is held or listened on, and are refused when none is left.
func TestRows(t *testing.T) {
	const n = 8
	row, err := HoldRow(n, 20000, 30000)
	require.NoError(t, err)
	defer row.Close()
	first := row[0].Addr().Port()
	for i, p := range row {
		require.Equal(t, first+uint16(i), p.Addr().Port())
	}
	_, err = HoldRow(n/2, first, first+n)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
	require.NoError(t, row.Close())
	l, err := net.Listen("tcp", row[n/2].String())
	require.NoError(t, err)
	defer l.Close()
	_, err = HoldRow(n-1, first, first+n)
	require.ErrorIs(t, err, syscall.EADDRINUSE)
}
