package s2s

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// The kernel is told to find a peer that is gone within LossTimeout.
func TestKernelFindsDeadPeers(t *testing.T) {
	c := testConfig()
	c.LossTimeout = 18 * time.Second
	s, err := c.compile()
	require.NoError(t, err)
	client, server := loopback(t)
	defer client.Close()
	defer server.Close()
	tune(client, s)

	raw, err := client.(*net.TCPConn).SyscallConn()
	require.NoError(t, err)
	got := map[int]int{}
	require.NoError(t, raw.Control(func(fd uintptr) {
		for _, opt := range []int{unix.TCP_USER_TIMEOUT, unix.TCP_KEEPIDLE, unix.TCP_KEEPINTVL, unix.TCP_KEEPCNT} {
			v, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_TCP, opt)
			require.NoError(t, err)
			got[opt] = v
		}
	}))
	require.Equal(t, map[int]int{unix.TCP_USER_TIMEOUT: 18000, unix.TCP_KEEPIDLE: 9, unix.TCP_KEEPINTVL: 3, unix.TCP_KEEPCNT: 3}, got)

	one, other := memPipe(fromMain, nodeAddr)
	tune(one, s) // no TCP: left alone
	one.Close()
	other.Close()
}
