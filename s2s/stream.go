package s2s

import (
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"vnode/internal/wire"
	"vnode/s2s/acks"
)

// Namespaces only servers speak.
const (
	nsDialback        = "jabber:server:dialback"
	nsDialbackFeature = "urn:xmpp:features:dialback"
	nsBidi            = "urn:xmpp:bidi"
	nsBidiFeature     = "urn:xmpp:features:bidi"
)

const (
	dialbackDeclared = " xmlns:db='" + nsDialback + "'"
	streamEnd        = "</stream:stream>"
)

// Limits of a stream nobody needs to configure.
const (
	maxControl         = 64 << 10    // bytes of answers that wait for a peer that does not read
	maxCachedAddresses = 2048        // twice the participants of the largest main rooms
	lingerAfterError   = time.Second // for the peer to read the error and close
	ackLinger          = time.Second // for the last acknowledgements of a peer we cannot write to
	maxLingerBytes     = 1 << 20     // read and dropped meanwhile
	maxSkipped         = 32 << 20    // bytes of a stanza that is dropped for its size
	maxFromPerson      = 512 << 10   // bytes of a stanza that a peer passes on for somebody
)

// stream is one XML stream with a peer server, from its first byte to its last.
type stream struct {
	// Static after construction.
	srv     *Server
	cfg     *settings
	dir     direction
	raw     net.Conn // the TCP connection: for deadlines and closing
	wake    chan struct{}
	written chan struct{} // closed when the writer ended
	place   *place        // of an incoming one

	// Owned by the reader. What the writer uses of it does not change once the
	// stream is ready.
	domainPair // the pair the stream was opened for
	log        *slog.Logger
	conn       net.Conn // raw, or TLS over it
	r          *wire.Reader
	id         string              // of the current stream
	space      string              // the default namespace of the peer's header
	phase      string              // what the reader waits for
	secure     bool                // TLS is up
	opened     bool                // our header of the current stream was sent
	mute       bool                // nothing more can be written
	bidi       bool                // stanzas may go both ways, XEP-0288
	method     string              // how it was authenticated; "" before
	voucher    *string             // see vouched
	verified   int                 // dialback keys checked for the peer
	peerMax    int                 // bytes of a stanza the peer accepts, 0: unknown
	peerIdle   time.Duration       // silence the peer accepts, 0: unknown
	offersSM   bool                // the peer of an outgoing stream does
	home       *pair               // of domainPair, once ready; nil when it was configured away
	doing      []byte              // the element that is handled
	got        wire.Stanza         // the current one; here so that it is not allocated for each
	jids       map[string]wire.JID // addresses seen, by their bytes

	proved atomic.Pointer[[]domainPair] // whose stanzas may come in; replaced whole under mu

	// Written by the reader.
	in       atomic.Uint32 // stanzas handled, mod 2^32, since counting began
	counting atomic.Bool   // stream management is enabled
	heard    atomic.Uint64 // grows when an element came and when it was handled: odd in between

	// Guarded by mu.
	mu       sync.Mutex
	isReady  bool
	control  []byte   // elements to write before any stanza
	carries  []*pair  // pairs whose stanzas may go out here; replaced whole
	checking int      // dialback checks under way
	ended    *ending  // the first reason to end
	linked   []string // peers of pairs proved here
	acks     acks.State[sent]

	resumeID  string // by which the stream may be resumed, "" when it may not
	resumeFor time.Duration
}

func newStream(s *Server, conn net.Conn, dir direction) *stream {
	st := &stream{
		srv: s, cfg: s.cfg.Load(), dir: dir, raw: conn, conn: conn,
		wake: make(chan struct{}, 1), written: make(chan struct{}), jids: map[string]wire.JID{},
	}
	st.setDomains(domainPair{})
	st.r = wire.NewReader(conn, st.cfg.limits(false))
	st.proved.Store(new([]domainPair))
	s.m.streams[dir][negotiating].Inc()
	if !s.add(st) {
		st.end(&ending{reason: Shutdown})
	}
	return st
}

// setDomains notes whom the stream connects, for the log as well.
func (st *stream) setDomains(d domainPair) {
	st.domainPair = d
	st.log = st.srv.log.With("direction", st.dir, "addr", st.raw.RemoteAddr().String())
	if d != (domainPair{}) {
		st.log = st.log.With("peer", d.remote, "stream", d.String())
	}
}

// await names the next phase and gives it its time, counted from now however
// slowly its bytes come.
func (st *stream) await(phase string, d time.Duration) {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.phase = phase
	if st.ended == nil {
		st.raw.SetReadDeadline(time.Now().Add(d))
	}
}

// readHeader reads the peer's stream header.
func (st *stream) readHeader() (wire.StreamHeader, error) {
	tok, err := st.r.Next()
	if err != nil {
		return wire.StreamHeader{}, err
	}
	h, err := wire.ParseHeader(tok.Data)
	if err != nil {
		return wire.StreamHeader{}, err
	}
	st.space = wire.Unescape(h.Space)
	return wire.ParseStreamHeader(tok.Data, wire.NSServer)
}

// next reads one element during negotiation. The end of the stream and a
// stream error are errors.
func (st *stream) next() (elem []byte, h wire.Header, err error) {
	tok, err := st.r.Next()
	if err != nil {
		return nil, h, err
	}
	if tok.Kind == wire.StreamEnd {
		return nil, h, because(Closed, nil)
	}
	elem = st.r.Declare(tok.Data)
	if h, err = wire.ParseHeader(elem); err != nil {
		return nil, h, err
	}
	if space, local := st.name(&h); space == wire.NSStream && local == "error" {
		return nil, h, peerError(elem)
	}
	return elem, h, nil
}

// name resolves the name of a top-level element, on which the reader has declared
// the prefixes of the stream's header.
func (st *stream) name(h *wire.Header) (space, local string) {
	space, local = h.QName()
	switch {
	case space != "":
		return space, local
	case string(h.Name) == "stream:"+local:
		return wire.NSStream, local
	case h.Space == nil && len(local) == len(h.Name): // no prefix
		return st.space, local
	}
	return space, local
}

// send writes an element that is not a stanza: at once while the stream is
// negotiated, by the writer later.
func (st *stream) send(p []byte) error {
	st.mu.Lock()
	if !st.isReady {
		st.mu.Unlock()
		_, err := st.write(p, st.cfg.NegotiationTimeout)
		return err
	}
	defer st.mu.Unlock()
	return st.sendReady(p)
}

// sendReady is send on a ready stream. st.mu is held.
func (st *stream) sendReady(p []byte) error {
	if len(st.control)+len(p) > maxControl {
		return refuse(BadProtocol, wire.PolicyViolation, "too many requests unread answers wait for")
	}
	st.control = append(st.control, p...)
	st.wakeWriter()
	return nil
}

func (st *stream) write(p []byte, d time.Duration) (int, error) {
	st.raw.SetWriteDeadline(time.Now().Add(d))
	n, err := st.conn.Write(p)
	if ne, ok := err.(net.Error); ok && ne.Timeout() {
		err = because(Stalled, err)
	}
	return n, err
}

func (st *stream) wakeWriter() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// becomeReady ends the negotiation: st's pair is proved, stanzas may flow.
func (st *stream) becomeReady() {
	st.r.SetLimits(st.cfg.limits(true))
	st.r.Check(maxSkipped)
	st.learnWhatArrives()
	st.setReady()
	go st.writeLoop() // finish waits for it
	st.srv.authenticated(st)
	st.srv.m.streams[st.dir][negotiating].Dec()
	st.srv.m.streams[st.dir][ready].Inc()
	st.prove(st.domainPair, nil)
	st.srv.reachable(st.remote)
}

func (st *stream) setReady() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.isReady = true
	st.phase = "stanza"
	if st.ended == nil {
		st.raw.SetReadDeadline(time.Time{})
	}
}

// prove lets stanzas of d in, out, or both: in when the peer proved to be
// d.remote on a stream it may use in that direction, out when it is ours to
// use. The answer tells the peer so, unless it is nil: before our first stanza
// of d, and not before the peer's first would be let in.
func (st *stream) prove(d domainPair, answer []byte) {
	p := st.srv.pair(d)
	if p == nil {
		return
	}
	st.srv.linked(d.remote, 1)
	if !st.carry(p, d, answer) {
		st.srv.linked(d.remote, -1)
	}
}

// carry reports false when there is nothing to be done any more.
func (st *stream) carry(p *pair, d domainPair, answer []byte) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	old := *st.proved.Load()
	if st.ended != nil || st.sendReady(answer) != nil || slices.Contains(old, d) {
		return false
	}
	st.linked = append(st.linked, d.remote)
	if st.dir == inbound || st.bidi {
		now := append(slices.Clone(old), d)
		st.proved.Store(&now)
	}
	if st.dir == outbound || st.bidi {
		st.carries = append(slices.Clone(st.carries), p)
		p.attach(st)
	}
	return true
}

// serve reads a ready stream until it ends and finishes it.
func (st *stream) serve() {
	st.log.Info("stream ready", "method", st.method, "bidi", st.bidi)
	st.end(endingOf(st.guardedReading(), st.phase))
	st.finish()
}

// readLoop is the path of every stanza from a peer: framed and checked, its
// header read, its domains checked, handed on.
func (st *stream) readLoop() error {
	for {
		tok, err := st.r.Next()
		if err != nil {
			return err
		}
		if tok.Kind == wire.StreamEnd {
			return because(Closed, nil)
		}
		st.heard.Add(1)
		st.doing = tok.Data
		err = st.top(&tok)
		st.doing = nil
		st.heard.Add(1)
		if err != nil {
			return err
		}
	}
}

// top handles a top-level element.
func (st *stream) top(tok *wire.Token) (err error) {
	if len(tok.Data) == 0 { // too large already in its start tag
		st.in.Add(1)
		st.dropped(tok, "")
		return nil
	}
	if st.got.Header, err = wire.ParseHeader(tok.Data); err != nil {
		return err
	}
	if tok.Outside != 0 {
		st.got.Unprefix()
	}
	switch {
	case !st.got.IsStanza(wire.NSServer) && tok.Outside == wire.TooLarge:
		return tok.Outside.StreamError()
	case !st.got.IsStanza(wire.NSServer):
		return st.element(tok.Data, &st.got.Header)
	case tok.Outside != 0:
		err = st.outside(tok, &st.got.Header)
	default:
		st.got.Raw = tok.Data
		err = st.stanza(&st.got)
	}
	st.in.Add(1)
	return err
}

// stanza checks the addresses of one stanza and hands it to the Handler.
func (st *stream) stanza(s *wire.Stanza) (err error) {
	if len(s.Header.From) == 0 || len(s.Header.To) == 0 {
		return refuse(BadAddress, wire.ImproperAddressing, "a stanza between servers needs from and to")
	}
	if s.From, err = st.address(s.Header.From); err != nil {
		return st.malformed(&s.Header)
	}
	if s.To, err = st.address(s.Header.To); err != nil {
		return st.malformed(&s.Header)
	}
	if len(s.Raw) > maxFromPerson && s.From.Resource != "" {
		return st.outside(&wire.Token{Data: s.Raw, Outside: wire.TooLarge}, &s.Header)
	}
	m := st.srv.m
	m.stanzas[inbound].Inc()
	m.bytes[inbound].Add(float64(len(s.Raw)))
	if st.proves(s.From.Domain) && st.cfg.hosts[s.To.Domain] {
		st.hand(s)
		return nil
	}
	return st.misaddressed(s)
}

// hand gives a stanza to whom it is for.
func (st *stream) hand(s *wire.Stanza) {
	if !st.srv.isPong(&s.Header, s.From, s.To) {
		st.srv.handler.Stanza(s)
	}
}

// address parses an attribute, remembering what it yields: the participants of
// a room come again with every stanza.
func (st *stream) address(raw []byte) (wire.JID, error) {
	if j, ok := st.jids[string(raw)]; ok {
		return j, nil
	}
	j, err := wire.ParseAddress(raw)
	if err != nil {
		return j, err
	}
	if len(st.jids) >= maxCachedAddresses {
		clear(st.jids)
	}
	st.jids[string(raw)] = j
	return j, nil
}

// proves reports whether stanzas from domain may come in.
func (st *stream) proves(domain string) bool {
	for _, d := range *st.proved.Load() {
		if d.remote == domain {
			return true
		}
	}
	return false
}

// malformed answers a stanza with an address that is none. It does not end the
// stream: main may know characters in a nick that our tables do not know yet,
// and one such nick must not disturb everybody else.
func (st *stream) malformed(h *wire.Header) error {
	if wire.Answerable(h) {
		st.srv.Send(st.local, st.remote, wire.AppendErrorReply(nil, h, "", wire.Unescape(h.From), wire.ErrJIDMalformed))
	}
	return nil
}

// element handles what is not a stanza on a ready stream.
func (st *stream) element(elem []byte, h *wire.Header) error {
	space, local := st.name(h)
	switch {
	case space == wire.NSStream && local == "error":
		return peerError(elem)
	case space == nsDialback && (st.dir == inbound || st.bidi):
		return st.dialback(elem, h, local)
	case space == wire.NSSM:
		return st.streamManagement(h, local)
	case space == "":
		return refuse(BadXML, wire.BadNamespacePrefix, "")
	}
	return refuse(BadProtocol, wire.UnsupportedStanzaType, "")
}

// end makes the stream end for reason e, unless another came first. It does not
// block: what is still to be said is written by the writer, or by the reader
// while there is none. A ready stream that is shut down goes on reading until
// the peer closes too, for CloseTimeout at most; one that cannot write any more
// reads on for the last acknowledgements.
func (st *stream) end(e *ending) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.ended == nil {
		st.ended = e
		wait := time.Duration(0)
		switch {
		case st.isReady && e.reason == Shutdown:
			wait = st.cfg.CloseTimeout
		case e.reason == Lost && len(st.acks.Lost()) > 0:
			wait = ackLinger
		}
		st.raw.SetReadDeadline(time.Now().Add(wait))
	}
	st.wakeWriter()
}

// unacked is how many stanzas the peer has not acknowledged.
func (st *stream) unacked() int {
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.acks.Unacked())
}
