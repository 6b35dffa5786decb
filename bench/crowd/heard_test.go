//go:build linux

package crowd

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"vnode/internal/xmpptest/conference"
)

// audience is visitors in a room, without a server.
type audience struct {
	src      *conference.Source
	loop     *loop
	visitors []*client
}

func newAudience(n int) *audience {
	ledger := conference.NewLedger()
	c := &Crowd{opt: Options{Ledger: ledger, Room: fakeRoom}, addr: address{transport: WebSocket}}
	a := &audience{src: ledger.Add(conference.RoleParticipant, "speaker"), loop: &loop{crowd: c, buf: make([]byte, readSize)}}
	a.loop.tally.reset()
	for i := range n {
		v := newClient(c, a.loop, i, Steady)
		v.framing, v.stage, v.fd, v.acks, v.joinedAt = newFraming(v), stageIn, 1<<30, true, 1
		v.jid = fmt.Sprintf("%08d@%s/resource", i, fakeDomain)
		a.visitors = append(a.visitors, v)
	}
	return a
}

// batch is lines as one visitor receives them, and where its address is.
type batch struct {
	frames    []byte
	addresses []int
}

func (a *audience) batch(lines int) batch {
	var b batch
	for range lines {
		line := conference.ChatLine(a.src, fakeRoom, "Speaker", conference.Now(), 900)
		elem := append([]byte("<message to='"+a.visitors[0].jid+"'"), line[len("<message"):]...)
		b.frames = append(b.frames, 0x81, 126, byte(len(elem)>>8), byte(len(elem)))
		b.addresses = append(b.addresses, len(b.frames)+len("<message to='"))
		b.frames = append(b.frames, elem...)
	}
	return b
}

// receive lets everybody have the batch.
func (a *audience) receive(b *batch) {
	for _, v := range a.visitors {
		for _, at := range b.addresses {
			copy(b.frames[at:], v.jid)
		}
		// As the kernel would: what is looked at next is in the cache.
		v.took(a.loop.buf[:copy(a.loop.buf, b.frames)], len(b.frames))
	}
}

// frames are the lines of a batch, each for itself, as the visitor gets them.
func (b *batch) each(v *client) [][]byte {
	var all [][]byte
	begin := 0
	for i, at := range b.addresses {
		copy(b.frames[at:], v.jid)
		end := len(b.frames)
		if i+1 < len(b.addresses) {
			end = b.addresses[i+1] - len("<message to='") - 4
		}
		all = append(all, slices.Clone(b.frames[begin:end]))
		begin = end
	}
	return all
}

// One visitor of three gets something wrong in the middle of what comes at
// once, which the others have got before or get later: it is noticed for that
// visitor, each kind for itself, and what is around it counts.
func TestFaultsInTheMiddleOfABatch(t *testing.T) {
	const lines = 9
	other := func(b []byte, old, new string) []byte {
		require.Contains(t, string(b), old)
		return bytes.Replace(b, []byte(old), []byte(new), 1)
	}
	for name, c := range map[string]struct {
		fault   func(frames [][]byte) [][]byte
		want    tally // of all three
		lost    uint64
		differs bool // a stanza with a known stamp is not what others got
	}{
		"nothing": {fault: func(f [][]byte) [][]byte { return f }, want: tally{delivered: 27}},
		"lost": {want: tally{delivered: 26}, lost: 1, fault: func(f [][]byte) [][]byte {
			return slices.Delete(f, 4, 5)
		}},
		"lost at the end": {want: tally{delivered: 25}, lost: 2, fault: func(f [][]byte) [][]byte { return f[:7] }},
		"doubled": {want: tally{delivered: 27, twice: 1}, fault: func(f [][]byte) [][]byte {
			return slices.Insert(f, 5, f[4])
		}},
		"an old one again": {want: tally{delivered: 27, twice: 1}, fault: func(f [][]byte) [][]byte {
			return slices.Insert(f, 7, f[1])
		}},
		"reordered": {want: tally{delivered: 27, late: 1}, fault: func(f [][]byte) [][]byte {
			f[4], f[5] = f[5], f[4]
			return f
		}},
		"another number": {want: tally{delivered: 26, twice: 1, unexpected: 1}, lost: 1, fault: func(f [][]byte) [][]byte {
			f[4] = other(f[4], "vnode-bench:0:c:5:", "vnode-bench:0:c:4:")
			return f
		}},
		"another source": {want: tally{delivered: 26, unexpected: 1}, lost: 1, fault: func(f [][]byte) [][]byte {
			f[4] = other(f[4], "vnode-bench:0:c:", "vnode-bench:99999:c:")
			f[4][3] += 4
			return f
		}},
		"without its stamp": {want: tally{delivered: 26}, lost: 1, fault: func(f [][]byte) [][]byte {
			f[4] = other(f[4], "vnode-bench:", "vnode-bensh:")
			return f
		}},
		"another content": {want: tally{delivered: 27, unexpected: 1}, differs: true, fault: func(f [][]byte) [][]byte {
			f[4] = other(f[4], "xxxxx", "xxyxx")
			return f
		}},
		"another sender": {want: tally{delivered: 27, unexpected: 1}, differs: true, fault: func(f [][]byte) [][]byte {
			f[4] = other(f[4], "type='groupchat'", "type='groupshat'")
			return f
		}},
		"another's address": {want: tally{delivered: 27, unexpected: 1}, differs: true, fault: func(f [][]byte) [][]byte {
			f[4] = other(f[4], "0000000", "0000007")
			return f
		}},
	} {
		for wrong := range 3 { // the first visitor that gets the line, and the others
			t.Run(fmt.Sprint(name, ", visitor ", wrong), func(t *testing.T) {
				a := newAudience(3)
				b := a.batch(lines)
				for i, v := range a.visitors {
					frames := b.each(v)
					if i == wrong {
						frames = c.fault(frames)
					}
					received := bytes.Join(frames, nil)
					v.took(received, len(received))
					require.Nil(t, v.err)
					require.EqualValues(t, len(frames), v.handled, "what an <a/> would say")
				}
				got := a.loop.tally
				want := c.want
				if wrong == 0 && c.differs {
					want.unexpected = 2 // the others differ from the first, whoever is right
				}
				require.Equal(t, []uint64{want.delivered, want.late, want.twice, want.unexpected},
					[]uint64{got.delivered, got.late, got.twice, got.unexpected}, "delivered, late, twice, unexpected")
				for i, v := range a.visitors {
					lost, _ := v.seen.missing(viewOf(0, conference.Chat), 1, lines)
					if i != wrong {
						require.Zero(t, lost)
						continue
					}
					require.Equal(t, c.lost, lost)
				}
			})
		}
	}
}

// Wherever what comes is cut, it is the same.
func TestBatchesCutAnywhere(t *testing.T) {
	a := newAudience(2)
	first, second := a.visitors[0], a.visitors[1]
	for range 3 {
		b := a.batch(2)
		whole := bytes.Join(b.each(first), nil)
		first.took(whole, len(whole))
		whole = bytes.Join(b.each(second), nil)
		for len(whole) > 0 {
			n := min(len(whole), 7)
			second.took(append(slices.Clone(second.left), whole[:n]...), n)
			whole = whole[n:]
		}
	}
	require.Equal(t, first.seen, second.seen)
	require.EqualValues(t, 12, a.loop.tally.delivered)
	require.Zero(t, a.loop.tally.unexpected)
}

// Who lags more than is remembered, or goes its own ways, is counted like
// everybody else: whatever comes, in whatever order, the count agrees with that
// of a visitor alone, for which everything is parsed.
func FuzzHeard(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0})
	f.Add([]byte{0, 1, 2, 3, 255, 254, 253, 252, 4, 1, 2, 3, 60, 61, 62, 63, 0, 1, 2, 3})
	f.Add([]byte{0, 0, 0, 8, 0, 0, 1, 1, 1, 5, 1, 9, 1, 60, 2, 62, 2, 2, 2})
	f.Fuzz(func(t *testing.T, steps []byte) {
		const visitors, lines = 4, 16
		together := newAudience(visitors)
		b := together.batch(lines)
		var alone []*client
		var frames [visitors][][]byte
		var next [visitors]int
		for i, v := range together.visitors {
			alone = append(alone, newAudience(visitors).visitors[i])
			frames[i] = b.each(v)
		}
		for _, step := range steps {
			// Two bits say who, the others how far it jumps, mostly not at all.
			i := int(step) % visitors
			if jump := int(step) / visitors; jump < lines {
				next[i] = (next[i] + jump) % lines
			}
			for _, v := range []*client{together.visitors[i], alone[i]} {
				v.took(frames[i][next[i]], len(frames[i][next[i]]))
			}
			next[i] = (next[i] + 1) % lines
		}
		var sum tally
		for i, v := range together.visitors {
			require.Equal(t, alone[i].seen, v.seen)
			require.Equal(t, alone[i].handled, v.handled)
			own := &alone[i].loop.tally
			sum.delivered += own.delivered
			sum.late += own.late
			sum.twice += own.twice
			sum.stanzas += own.stanzas
		}
		got := &together.loop.tally
		require.Equal(t, []uint64{sum.delivered, sum.late, sum.twice, sum.stanzas, 0}, []uint64{got.delivered, got.late, got.twice, got.stanzas, got.unexpected})
	})
}
