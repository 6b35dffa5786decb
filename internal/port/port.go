// Package port holds ports of the loopback interface for programs that are
// started later, so that others can be told an address before anybody listens
// there, and no third party gets it in between.
package port

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
)

// Port is a TCP port of 127.0.0.1 that is held for a program to listen on. It
// refuses connections until one does, and whenever none does. Its methods are
// not safe for concurrent use.
type Port struct {
	// Static after construction.
	addr netip.AddrPort

	held io.Closer // nil once it was given back
}

// Hold takes a free port. On Linux nobody is given it until Close, neither for
// port 0 nor for an outgoing connection, while a program that asks for it by
// number and sets SO_REUSEADDR, as servers do, gets it. Elsewhere it was only
// free a moment ago. The caller owns the result and calls Close, before or
// after the end of who listens.
func Hold() (*Port, error) {
	return take(0)
}

func take(number uint16) (*Port, error) {
	addr, held, err := hold(number)
	if err != nil {
		return nil, fmt.Errorf("hold port %d: %w", number, err)
	}
	return &Port{addr: addr, held: held}, nil
}

// Addr returns the address that is held.
func (p *Port) Addr() netip.AddrPort { return p.addr }

// String returns the address as host:port.
func (p *Port) String() string { return p.addr.String() }

// Close gives the port back. It may be called again, and on nil.
func (p *Port) Close() error {
	if p == nil || p.held == nil {
		return nil
	}
	held := p.held
	p.held = nil
	return held.Close()
}

// Ports are several that belong to one owner.
type Ports []*Port

// HoldRow takes n ports in a row, for programs that are told the first only:
// from lowest on and below highest, which should be below those that the system
// gives to connections. It fails when it finds none.
func HoldRow(n int, lowest, highest uint16) (Ports, error) {
	const tries = 200
	var err error
	for range tries {
		row := make(Ports, n)
		first := lowest + rand.N(highest-lowest-uint16(n)+1)
		for i := range row {
			if row[i], err = take(first + uint16(i)); err != nil {
				break
			}
		}
		if err == nil {
			return row, nil
		}
		_ = row.Close() // somebody has one of them
	}
	return nil, fmt.Errorf("no %d free ports in a row between %d and %d: %w", n, lowest, highest, err)
}

// HoldAll takes n different free ports, or none.
func HoldAll(n int) (Ports, error) {
	all := make(Ports, n)
	for i := range all {
		var err error
		if all[i], err = Hold(); err != nil {
			return nil, errors.Join(err, all.Close())
		}
	}
	return all, nil
}

// Close gives all of them back, as [Port.Close] does.
func (all Ports) Close() error {
	var err error
	for _, p := range all {
		err = errors.Join(err, p.Close())
	}
	return err
}
