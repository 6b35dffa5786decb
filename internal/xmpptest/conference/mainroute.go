package conference

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"vnode/internal/wire"
)

// mainStream is one authenticated server stream, whoever opened it. Its reader
// is the goroutine that negotiated it; its writer is out's.
type mainStream struct {
	// Static after the negotiation.
	conn          net.Conn
	r             *wire.Reader
	local, remote string // the pair of domains, ours first
	outgoing      bool
	bidi          bool

	out outbox
}

// sends reports whether stanzas from local to remote may be written to s.
func (s *mainStream) sends() bool { return s.outgoing || s.bidi }

// receives reports whether the node may write stanzas to s.
func (s *mainStream) receives() bool { return !s.outgoing || s.bidi }

// begin makes a negotiated stream known and reads it in a goroutine.
func (m *Main) begin(h *handshake, outgoing bool) *mainStream {
	s := &mainStream{
		conn: h.conn, r: h.r, local: h.local, remote: h.remote,
		outgoing: outgoing, bidi: h.bidi,
	}
	s.out.start(h.conn)
	m.mu.Lock()
	m.streams = append(m.streams, s)
	m.signal()
	closing := m.closing
	m.mu.Unlock()
	if closing {
		s.out.close([]byte("</stream:stream>"))
	}
	m.wg.Go(func() { m.read(s) })
	return s
}

// signal tells who waits for a stream; mu is held.
func (m *Main) signal() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// read handles what comes on s until it ends.
func (m *Main) read(s *mainStream) {
	stop := context.AfterFunc(m.ctx, func() { _ = s.conn.Close() })
	defer stop()
	err := m.readAll(s)
	m.mu.Lock()
	m.streams = slices.DeleteFunc(m.streams, func(o *mainStream) bool { return o == s })
	m.signal()
	closing := m.closing
	m.mu.Unlock()
	if err != nil && !closing && m.ctx.Err() == nil {
		m.fault("stream %s to %s: %v", s.remote, s.local, err)
		s.out.close(append(wire.AsStreamError(err).Append(nil, false), "</stream:stream>"...))
	} else {
		s.out.close([]byte("</stream:stream>"))
	}
	<-s.out.done
}

func (m *Main) readAll(s *mainStream) error {
	for {
		t, err := s.r.Next()
		if isEOF(err) {
			return nil // a node may cut an idle stream
		}
		if err != nil {
			return err
		}
		if t.Kind != wire.Element {
			return nil
		}
		h, err := wire.ParseHeader(t.Data)
		if err != nil {
			return err
		}
		switch string(h.Name) {
		case "stream:features":
			continue // of the last restart
		case "stream:error":
			if e := wire.ParseStreamError(t.Data); e.Condition != wire.SystemShutdown {
				return e
			}
			return nil
		case "db:result":
			if err := s.out.send(refusePair(&h)); err != nil {
				return err
			}
			continue
		case "db:verify":
			if err := s.out.send(m.server.verdict(t.Data, &h)); err != nil {
				return err
			}
			continue
		}
		if err := m.received(s, t.Data, &h); err != nil {
			return err
		}
	}
}

// received handles one stanza of the node's.
func (m *Main) received(s *mainStream, elem []byte, h *wire.Header) error {
	from, errFrom := wire.ParseAddress(h.From)
	to, errTo := wire.ParseAddress(h.To)
	if err := errors.Join(errFrom, errTo); err != nil {
		return wire.StreamError{Condition: wire.ImproperAddressing, Text: err.Error()}
	}
	if !s.receives() || from.Domain != s.remote || to.Domain != s.local {
		return wire.StreamError{Condition: wire.InvalidFrom, Text: fmt.Sprintf("%s to %s", from, to)}
	}
	switch string(h.Name) {
	case "iq":
		m.receivedIQ(elem, h)
	case "message":
		m.receivedMessage(elem, h, from, to)
	}
	return nil // presences: a room's end, which main only counts
}

func (m *Main) receivedIQ(elem []byte, h *wire.Header) {
	if !wire.Answerable(h) {
		m.mu.Lock()
		answer := m.waiting[wire.Unescape(h.ID)]
		m.mu.Unlock()
		if answer == nil {
			m.fault("answer to no question: %s", elem)
			return
		}
		select {
		case answer <- string(h.Type):
		default:
			m.fault("second answer: %s", elem)
		}
		return
	}
	from, to := wire.Unescape(h.From), wire.Unescape(h.To)
	var reply []byte
	switch child, _ := wire.FirstChild(elem); child.Space {
	case wire.NSPing, wire.NSVisitors: // promotion-request, transcription-languages
		reply = wire.AppendResult(nil, h, "", from, nil)
	default:
		reply = wire.AppendErrorReply(nil, h, "", from, wire.ErrServiceUnavailable)
	}
	if err := m.send(domainOf(to), domainOf(from), reply); err != nil {
		m.opt.Log.Warn("answer not sent", "peer", from, "reason", err)
	}
}

func (m *Main) receivedMessage(elem []byte, h *wire.Header, from, to wire.JID) {
	m.mu.Lock()
	room := m.rooms[to.String()]
	m.mu.Unlock()
	switch {
	case room != nil && string(h.Type) == "error":
		room.bounced()
	case room != nil && string(h.Type) == "groupchat":
		room.said(elem, from)
	default:
		m.fault("message main has no use for: %s", elem)
	}
}

// send writes a stanza, complete without xmlns, from a domain of ours to one
// of the node's. It does not block.
func (m *Main) send(from, to string, elem []byte) error {
	s := m.stream(from, to)
	if s == nil {
		return fmt.Errorf("no stream from %s to %s", from, to)
	}
	return s.out.send(elem)
}

func (m *Main) stream(from, to string) *mainStream {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.streams {
		if s.local == from && s.remote == to && s.sends() {
			return s
		}
	}
	return nil
}

// reach returns when there is a stream from one domain to the other. Main's
// own domain opens one; its components wait for the node to (their modules do
// not inherit the addresses of nodes in Jitsi's configuration).
func (m *Main) reach(ctx context.Context, from, to string) error {
	for {
		m.mu.Lock()
		changed := m.changed
		m.mu.Unlock()
		if m.stream(from, to) != nil {
			return nil
		}
		if from == m.opt.Domain {
			h, err := m.server.open(ctx, from, to)
			if err != nil {
				return err
			}
			m.begin(h, true)
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("the node has opened no stream from %s to %s: %w", to, from, ctx.Err())
		}
	}
}

// ask sends an IQ of type set from main's domain to the node's rooms, and
// waits for the result.
func (m *Main) ask(ctx context.Context, id string, elem []byte) error {
	answer := make(chan string, 1)
	m.mu.Lock()
	m.waiting[id] = answer
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		delete(m.waiting, id)
		m.mu.Unlock()
	}()
	if err := m.send(m.opt.Domain, m.nodeRoomsDomain(), elem); err != nil {
		return err
	}
	select {
	case t := <-answer:
		if t != "result" {
			return fmt.Errorf("the node answered with %s", t)
		}
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the node has not answered: %w", ctx.Err())
	}
}

func domainOf(address string) string {
	bare, _, _ := strings.Cut(address, "/")
	if _, domain, ok := strings.Cut(bare, "@"); ok {
		return domain
	}
	return bare
}
