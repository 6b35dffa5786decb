package s2s

import (
	"net/netip"
	"slices"
	"time"
)

// places are what incoming connections occupy until they have authenticated.
// Strangers share some, a few for each address. Addresses that speak for the
// peers have as many of their own, so that no number of silent strangers keeps
// the main server out. It is a pure machine; its owner has a mutex.
type places struct {
	strangers []*place // in the order they came
	believed  int
}

// place is one that a connection occupies.
type place struct {
	addr     netip.Addr // that it is counted under
	believed bool
	since    time.Time
	leave    func() // ends the connection; called without the owner's mutex
}

const (
	// strangersPerAddress bounds the places of one address that speaks for nobody.
	strangersPerAddress = 8
	// silence is how long a stranger may take before another may have its place:
	// a negotiation takes four round trips.
	silence = 2 * time.Second
)

// take gives p a place under a limit for strangers, and the same for those who are
// believed. When there is none, the stranger that has been silent for longest
// gives up its own, of the same address or else of the one with most; the caller
// must call its leave.
func (l *places) take(p *place, limit int) (gives *place, ok bool) {
	if p.believed {
		if l.believed >= limit {
			return nil, false
		}
		l.believed++
		return nil, true
	}
	crowd := p.addr
	switch {
	case l.of(p.addr) >= min(strangersPerAddress, limit):
	case len(l.strangers) >= limit:
		crowd = l.crowded()
	default:
		l.strangers = append(l.strangers, p)
		return nil, true
	}
	i := slices.IndexFunc(l.strangers, func(x *place) bool { return x.addr == crowd })
	if gives = l.strangers[i]; p.since.Sub(gives.since) < silence {
		return nil, false
	}
	l.strangers = append(slices.Delete(l.strangers, i, i+1), p)
	return gives, true
}

// free gives a place back. One that was given up already, or nil, is left alone.
func (l *places) free(p *place) {
	switch {
	case p == nil:
		return
	case p.believed:
		l.believed--
		return
	}
	if i := slices.Index(l.strangers, p); i >= 0 {
		l.strangers = slices.Delete(l.strangers, i, i+1)
	}
}

// of counts the places of an address.
func (l *places) of(addr netip.Addr) (n int) {
	for _, x := range l.strangers {
		if x.addr == addr {
			n++
		}
	}
	return n
}

// crowded returns the address with most places, of several the one that came
// first.
func (l *places) crowded() (addr netip.Addr) {
	most := 0
	for _, x := range l.strangers {
		if n := l.of(x.addr); n > most {
			addr, most = x.addr, n
		}
	}
	return addr
}

// block is the address that a connection is counted under: of IPv6 the network
// that one subscriber has.
func block(addr netip.Addr) netip.Addr {
	if addr = addr.Unmap().WithZone(""); addr.Is6() {
		p, _ := addr.Prefix(64) // 64 is in range
		return p.Addr()
	}
	return addr
}
