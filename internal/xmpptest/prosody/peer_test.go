package prosody

import (
	"crypto/tls"
	"encoding/base64"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// peer is a node as seen from main: just enough of a server to be dialled, to
// dial, and to keep what arrives. It prints what it saw when the test fails.
type peer struct {
	// Static after construction.
	t        *testing.T
	id       string
	listener net.Listener
	auth     Auth
	bidi     bool
	got      inbox[arrival]
	streams  inbox[*stream] // authenticated streams that main opened

	// Set by start, before main dials.
	server *Server
	config *tls.Config

	wg sync.WaitGroup

	// Guarded by mu.
	mu     sync.Mutex
	conns  []net.Conn
	closed bool
	keys   map[string]bool // dialback keys of our own streams
	wire   strings.Builder
}

// arrival is a stanza and the stream it came on.
type arrival struct {
	element
	from, to string // domains the stream was opened for, by whoever opened it
	stream   *stream
}

// stream is one end of a server stream.
type stream struct {
	conn     net.Conn
	dec      *xml.Decoder
	from, to string  // as in the header of the initiator
	opening  element // features the receiver sent last before authentication
	bidi     bool    // the initiator asked for it
}

func (s *stream) String() string { return s.from + "->" + s.to }

func (s *stream) send(format string, args ...any) error {
	_, err := fmt.Fprintf(s.conn, format, args...)
	return err
}

// restart begins a new XML document on the same bytes.
func (s *stream) restart(conn net.Conn) {
	s.conn = conn
	s.dec = xml.NewDecoder(conn)
}

// header reads a stream header.
func (s *stream) header() (element, error) {
	for {
		tok, err := s.dec.Token()
		if err != nil {
			return element{}, err
		}
		if start, ok := tok.(xml.StartElement); ok {
			return element{XMLName: start.Name, Attrs: start.Attr}, nil
		}
	}
}

// next reads an element of the stream; its end is io.EOF.
func (s *stream) next() (element, error) {
	for {
		tok, err := s.dec.Token()
		if err != nil {
			return element{}, err
		}
		switch tok := tok.(type) {
		case xml.StartElement:
			var e element
			err := s.dec.DecodeElement(&e, &tok)
			return e, err
		case xml.EndElement:
			return element{}, io.EOF
		}
	}
}

func (s *stream) expect(local string) (element, error) {
	e, err := s.next()
	if err == nil && e.XMLName.Local != local {
		err = fmt.Errorf("%v: want <%s/>, got %v", s, local, e)
	}
	return e, err
}

const headerFormat = `<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:db='jabber:server:dialback' ` +
	`xmlns:stream='http://etherx.jabber.org/streams' from='%s' to='%s' id='%s' version='1.0'>`

// newPeer listens for main; start comes when main runs.
func newPeer(t *testing.T, id string, auth Auth, bidi bool) *peer {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(t, err)
	p := &peer{
		t: t, id: id, listener: l, auth: auth, bidi: bidi,
		got: newInbox[arrival](), streams: newInbox[*stream](), keys: map[string]bool{},
	}
	t.Cleanup(p.close)
	return p
}

func (p *peer) addr() netip.AddrPort { return p.listener.Addr().(*net.TCPAddr).AddrPort() }
func (p *peer) domain() string       { return NodeDomain(p.id) }
func (p *peer) rooms() string        { return "conference." + p.domain() }

func (p *peer) start(s *Server) {
	p.t.Helper()
	newCertificate := SelfSigned
	if p.auth == AuthExternal {
		newCertificate = s.CA().Issue
	}
	made, err := newCertificate(p.domain(), p.rooms())
	require.NoError(p.t, err)
	cert, err := made.TLS()
	require.NoError(p.t, err)
	pool, err := s.CertPool()
	require.NoError(p.t, err)
	p.server = s
	p.config = &tls.Config{
		Certificates: []tls.Certificate{cert},
		RootCAs:      pool,
		ClientCAs:    pool,
		ClientAuth:   tls.VerifyClientCertIfGiven,
	}
	p.wg.Go(func() {
		for {
			conn, err := p.listener.Accept()
			if err != nil {
				return
			}
			p.wg.Go(func() { p.note("accept ended: %v", p.receive(conn)) })
		}
	})
}

func (p *peer) close() {
	_ = p.listener.Close()
	p.mu.Lock()
	p.closed = true
	for _, c := range p.conns {
		_ = c.Close()
	}
	p.mu.Unlock()
	p.wg.Wait()
	if p.t.Failed() {
		p.t.Logf("node %s saw:\n%s", p.id, p.wire.String())
	}
}

func (p *peer) note(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(&p.wire, format+"\n", args...)
}

// own returns conn with its plain bytes noted, closed with the peer.
func (p *peer) own(conn net.Conn) net.Conn {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conns = append(p.conns, conn)
	if p.closed {
		_ = conn.Close()
	}
	return noted{conn, p}
}

type noted struct {
	net.Conn
	peer *peer
}

func (n noted) Read(b []byte) (int, error) {
	k, err := n.Conn.Read(b)
	if k > 0 {
		n.peer.note("%v <- %s", n.LocalAddr(), b[:k])
	}
	return k, err
}

func (n noted) Write(b []byte) (int, error) {
	n.peer.note("%v -> %s", n.LocalAddr(), b)
	return n.Conn.Write(b)
}

// receive plays the receiving entity of a stream until it ends.
func (p *peer) receive(conn net.Conn) error {
	defer conn.Close() // main waits for it when it stops
	s := &stream{}
	s.restart(p.own(conn))
	if err := p.answerHeader(s, `<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>`); err != nil {
		return err
	}
	if _, err := s.expect("starttls"); err != nil {
		return err
	}
	if err := s.send(`<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>`); err != nil {
		return err
	}
	s.restart(p.own(tls.Server(conn, p.config)))
	if err := p.answerHeader(s, p.features()); err != nil {
		return err
	}
	return p.serve(s)
}

func (p *peer) features() string {
	offer := `<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>`
	if p.auth == AuthDialback {
		offer = `<dialback xmlns='urn:xmpp:features:dialback'/>`
	}
	if p.bidi {
		offer += `<bidi xmlns='urn:xmpp:features:bidi'/>`
	}
	return offer
}

func (p *peer) answerHeader(s *stream, features string) error {
	h, err := s.header()
	if err != nil {
		return err
	}
	s.from, s.to = h.attr("from"), h.attr("to")
	return s.send(headerFormat+`<stream:features>%s</stream:features>`, s.to, s.from, streamID, features)
}

// streamID may be the same for all streams of a peer that only main talks to.
const streamID = "peer-stream"

// serve reads what main sends on a stream, up to its end.
func (p *peer) serve(s *stream) error {
	for {
		e, err := s.next()
		if err != nil {
			return err
		}
		switch e.XMLName.Local {
		case "error":
			return fmt.Errorf("stream error: %v", e)
		case "bidi":
			s.bidi = true
		case "auth":
			err = p.acceptExternal(s, e)
		case "result":
			err = p.acceptDialback(s, e)
		case "verify":
			err = s.send(`<db:verify from='%s' to='%s' id='%s' type='%s'/>`,
				e.attr("to"), e.attr("from"), e.attr("id"), p.verdict(e.Text))
		default:
			p.got <- arrival{element: e, from: s.from, to: s.to, stream: s}
		}
		if err != nil {
			return err
		}
	}
}

func (p *peer) acceptExternal(s *stream, e element) error {
	authzid, err := base64.StdEncoding.DecodeString(e.Text)
	if err != nil || string(authzid) != s.from {
		return fmt.Errorf("%v: authzid %q", s, authzid)
	}
	if err := s.send(`<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>`); err != nil {
		return err
	}
	s.restart(s.conn)
	if err := p.answerHeader(s, ""); err != nil {
		return err
	}
	p.streams <- s
	return nil
}

// acceptDialback asks main, as the authoritative server, about its own key.
func (p *peer) acceptDialback(s *stream, e element) error {
	v, err := p.open(e.attr("to"), e.attr("from"))
	if err != nil {
		return err
	}
	defer v.conn.Close()
	err = v.send(`<db:verify from='%s' to='%s' id='%s'>%s</db:verify>`, e.attr("to"), e.attr("from"), streamID, e.Text)
	if err != nil {
		return err
	}
	answer, err := v.expect("verify")
	if err != nil {
		return err
	}
	if err := s.send(`<db:result from='%s' to='%s' type='%s'/>`, e.attr("to"), e.attr("from"), answer.attr("type")); err != nil {
		return err
	}
	if answer.attr("type") != "valid" {
		return errors.New("main does not know its own dialback key")
	}
	p.streams <- s
	return nil
}

// verdict answers main's question about a key of ours.
func (p *peer) verdict(key string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys[key] {
		return "valid"
	}
	return "invalid"
}

// open dials main up to the features after TLS.
func (p *peer) open(from, to string) (*stream, error) {
	conn, err := net.DialTimeout("tcp", p.server.S2SAddr().String(), 10*time.Second)
	if err != nil {
		return nil, err
	}
	s := &stream{from: from, to: to}
	s.restart(p.own(conn))
	if _, err := s.begin(); err != nil {
		return nil, err
	}
	if err := s.send(`<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>`); err != nil {
		return nil, err
	}
	if _, err := s.expect("proceed"); err != nil {
		return nil, err
	}
	config := p.config.Clone()
	config.ServerName = to
	s.restart(p.own(tls.Client(conn, config)))
	s.opening, err = s.begin()
	return s, err
}

// begin sends a header and reads the answer up to the features.
func (s *stream) begin() (element, error) {
	if err := s.send(headerFormat, s.from, s.to, ""); err != nil {
		return element{}, err
	}
	if _, err := s.header(); err != nil {
		return element{}, err
	}
	return s.expect("features")
}

// dial opens an authenticated stream to main. What main sends on it goes to
// got.
func (p *peer) dial(from, to string) *stream {
	p.t.Helper()
	s, err := p.open(from, to)
	require.NoError(p.t, err)
	if p.bidi {
		require.NoError(p.t, s.send(`<bidi xmlns='urn:xmpp:bidi'/>`))
	}
	if p.auth == AuthDialback {
		require.NoError(p.t, p.proveByDialback(s))
	} else {
		require.NoError(p.t, proveByExternal(s))
	}
	p.wg.Go(func() {
		defer s.conn.Close()
		p.note("%v ended: %v", s, p.serve(s))
	})
	return s
}

func proveByExternal(s *stream) error {
	err := s.send(`<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>%s</auth>`,
		base64.StdEncoding.EncodeToString([]byte(s.from)))
	if err != nil {
		return err
	}
	if _, err := s.expect("success"); err != nil {
		return err
	}
	s.restart(s.conn)
	_, err = s.begin()
	return err
}

func (p *peer) proveByDialback(s *stream) error {
	key := "key-of-" + s.String()
	p.mu.Lock()
	p.keys[key] = true
	p.mu.Unlock()
	if err := s.send(`<db:result from='%s' to='%s'>%s</db:result>`, s.from, s.to, key); err != nil {
		return err
	}
	e, err := s.expect("result")
	if err == nil && e.attr("type") != "valid" {
		err = fmt.Errorf("%v: dialback refused: %v", s, e)
	}
	return err
}

// answer accepts an IQ from main.
func (p *peer) answer(a arrival) {
	p.t.Helper()
	s := a.stream
	if !s.bidi {
		s = p.dial(a.to, a.from)
	}
	require.NoError(p.t, s.send(`<iq type='result' id='%s' from='%s' to='%s'/>`,
		a.attr("id"), a.element.attr("to"), a.element.attr("from")))
}
