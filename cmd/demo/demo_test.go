package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vnode/internal/port"
	"vnode/internal/xmpptest/conference"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFlags(t *testing.T) {
	o, err := parse(nil, io.Discard)
	require.NoError(t, err)
	require.Equal(t, 500, o.visitors)
	require.Equal(t, 52693, o.port)
	require.Positive(t, o.cuts)
	for _, wrong := range []string{
		"-main ejabberd", "-port 0", "-port 70000", "-visitors 0", "-participants 1", "-join-rate 0", "-talk 0s", "-cuts -1", "surplus", "-nonsense",
	} {
		_, err := parse(strings.Fields(wrong), io.Discard)
		require.Error(t, err, wrong)
	}
}

func TestATakenPortIsNamedWithItsOwnerAndTheWayOut(t *testing.T) {
	o := options{port: int(hold(t).Addr().Port()), c2s: hold(t).String(), http: "127.0.0.1:0"}
	l, err := net.Listen("tcp", o.c2s)
	require.NoError(t, err)
	defer l.Close()
	err = checkPorts(o)
	require.ErrorContains(t, err, l.Addr().String()+" is taken by")
	require.ErrorContains(t, err, fmt.Sprintf("(process %d)", os.Getpid()))
	require.ErrorContains(t, err, "-c2s")
	require.NotContains(t, err.Error(), "-http")
	require.NoError(t, l.Close())
	require.NoError(t, checkPorts(o))
}

func TestADemoWithoutANodeFailsAndSaysWhy(t *testing.T) {
	o, err := parse([]string{"-main", "simulated", "-vnode", "false", "-port", fmt.Sprint(hold(t).Addr().Port()),
		"-c2s", hold(t).String(), "-http", hold(t).String()}, io.Discard)
	require.NoError(t, err)
	var out, progress bytes.Buffer
	err = run(t.Context(), o, &out, &progress)
	require.ErrorContains(t, err, "ended before it listened")
	require.Contains(t, progress.String(), "is simulated")
	require.Empty(t, out.String())
}

func hold(t *testing.T) *port.Port {
	t.Helper()
	p, err := port.Hold()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.Close()) })
	return p
}

func TestProgressInLines(t *testing.T) {
	var out bytes.Buffer
	v := newView(&out, options{visitors: 2, talk: time.Hour})
	v.show(conference.Snapshot{Phase: "visitors join", Progress: conference.Progress{Joined: 1, Resumptions: conference.Resumptions{Cuts: 4, Resumed: 3}}, CPU: 0.5, RSS: 3 << 20})
	require.Contains(t, out.String(), "visitors join: 1 of 2 visitors, 0 stanzas delivered")
	require.Contains(t, out.String(), "resumed 3 of 4, node 50% CPU 3.0 MB")
	require.Zero(t, v.stayed(conference.Snapshot{Progress: conference.Progress{Joined: 1}}))
	v.options.talk = time.Nanosecond
	v.stayed(conference.Snapshot{Progress: conference.Progress{Joined: 2}})
	require.Equal(t, 2, v.stayed(conference.Snapshot{Progress: conference.Progress{Joined: 2}}))
	v.done()
}
