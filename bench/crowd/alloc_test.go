//go:build linux && !race

package crowd

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vnode/bench"
)

// receiver returns a visitor in a room and frames that it has not seen.
func receiver(tb testing.TB, n int) (*client, [][]byte) {
	ledger := bench.NewLedger()
	src := ledger.Add(bench.RoleParticipant, "speaker")
	c := &Crowd{opt: Options{Ledger: ledger, Room: fakeRoom}, addr: address{transport: WebSocket}}
	l := &loop{crowd: c, buf: make([]byte, readSize)}
	l.tally.reset()
	v := newClient(c, l, 0, Steady)
	v.framing, v.stage, v.fd, v.acks, v.joinedAt = newFraming(v), stageIn, 1<<30, true, 1
	frames := make([][]byte, n)
	for i := range frames {
		elem := bench.ChatLine(src, fakeRoom, "Speaker", bench.Now(), 900)
		frames[i] = append([]byte{0x81, 126, byte(len(elem) >> 8), byte(len(elem))}, elem...)
	}
	return v, frames
}

func TestReceivingAllocatesNothing(t *testing.T) {
	const runs = 1000
	v, frames := receiver(t, runs+2)
	i := 0
	got := testing.AllocsPerRun(runs, func() {
		v.took(frames[i], len(frames[i]))
		i++
	})
	require.Zero(t, got)
	require.EqualValues(t, runs+1, v.loop.tally.delivered)
	require.Nil(t, v.err)
}

func BenchmarkReceive(b *testing.B) {
	v, frames := receiver(b, 4096)
	b.SetBytes(int64(len(frames[0])))
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%len(frames) == 0 {
			v.seen = seen{} // the same frames are new again
		}
		f := frames[i%len(frames)]
		v.took(f, len(f))
	}
}
