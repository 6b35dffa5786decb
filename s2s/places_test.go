package s2s

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var noon = time.Date(2026, 12, 1, 12, 0, 0, 0, time.UTC)

func stranger(addr string, after time.Duration) *place {
	return &place{addr: block(netip.MustParseAddr(addr)), since: noon.Add(after)}
}

func TestPlacesOfStrangers(t *testing.T) {
	var l places
	for range strangersPerAddress {
		gives, ok := l.take(stranger("192.0.2.1", 0), 64)
		require.True(t, ok)
		require.Nil(t, gives)
	}
	_, ok := l.take(stranger("192.0.2.1", time.Second), 64)
	require.False(t, ok, "an address has a few, and who negotiates keeps its place")
	first := l.strangers[0]
	gives, ok := l.take(stranger("192.0.2.1", silence), 64)
	require.True(t, ok)
	require.Same(t, first, gives, "the oldest of the address")
	l.free(first)
	require.Len(t, l.strangers, strangersPerAddress, "it was given up already")
	_, ok = l.take(stranger("192.0.2.2", silence), 64)
	require.True(t, ok, "others are not concerned")
}

// One /64 is one address: whoever has one has 2^64 of them.
func TestPlacesOfANetwork(t *testing.T) {
	var l places
	for i := range strangersPerAddress {
		_, ok := l.take(stranger(fmt.Sprintf("2001:db8:1:2::%x", i+1), 0), 64)
		require.True(t, ok)
	}
	_, ok := l.take(stranger("2001:db8:1:2:ffff::1", 0), 64)
	require.False(t, ok)
	_, ok = l.take(stranger("2001:db8:1:3::1", 0), 64)
	require.True(t, ok)
	_, ok = l.take(stranger("::ffff:192.0.2.9", 0), 64)
	require.True(t, ok)
	require.Equal(t, 1, l.of(netip.MustParseAddr("192.0.2.9")))
}

func TestAFullHouseOfStrangers(t *testing.T) {
	var l places
	for i := range 64 {
		_, ok := l.take(stranger(fmt.Sprintf("192.0.2.%d", i/4), time.Duration(i)), 64)
		require.True(t, ok)
	}
	gives, ok := l.take(stranger("198.51.100.1", silence), 64)
	require.True(t, ok)
	require.Equal(t, "192.0.2.0", gives.addr.String(), "the oldest of an address with most")
	for range 64 {
		_, ok := l.take(&place{believed: true}, 64)
		require.True(t, ok, "those who are believed have as many of their own")
	}
	_, ok = l.take(&place{believed: true}, 64)
	require.False(t, ok)
	l.free(&place{believed: true})
	_, ok = l.take(&place{believed: true}, 64)
	require.True(t, ok)
}

// Whatever comes and goes, no limit is exceeded, and nobody is counted twice.
func TestPlacesHoldTheirLimits(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		var l places
		inside := map[*place]bool{}
		for i := range 300 {
			if r.IntN(3) == 0 {
				for p := range inside {
					l.free(p)
					delete(inside, p)
					break
				}
				continue
			}
			p := stranger(fmt.Sprintf("192.0.2.%d", r.IntN(6)), time.Duration(i)*100*time.Millisecond)
			if p.believed = r.IntN(4) == 0; p.believed {
				p.addr = netip.Addr{}
			}
			gives, ok := l.take(p, 16)
			if ok {
				inside[p] = true
			}
			if gives != nil {
				require.True(t, inside[gives])
				delete(inside, gives)
			}
			believed := 0
			for p := range inside {
				if p.believed {
					believed++
				}
				require.LessOrEqual(t, l.of(p.addr), strangersPerAddress)
			}
			require.Equal(t, believed, l.believed)
			require.Len(t, l.strangers, len(inside)-believed)
			require.LessOrEqual(t, len(l.strangers), 16)
			require.LessOrEqual(t, believed, 16)
		}
	}
}

// Silent strangers keep neither the main server out nor, after a while, another
// server that is not known by its address.
func TestSilentStrangersKeepNobodyOut(t *testing.T) {
	within(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		for range 64 {
			w.connect(fromOther, mainCert)
		}
		w.connect(fromMain, mainCert).authenticated(mainHost, rooms, "")
		time.Sleep(silence)
		late := w.connect(fromOther, mainCert)
		late.write("<?xml version='1.0'?>")
		require.NotZero(t, w.metric("vnode_s2s_closed_total", "in", "busy"))
		require.Contains(t, w.log.String(), "s2s-trusted-addresses")
		w.connect(fromMain, mainCert).authenticated(mainRooms, rooms, "")
	})
}
