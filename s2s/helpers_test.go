package s2s

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"vnode/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The cast of the tests: a node at nodeAddr, main at mainAddr.
const (
	rooms     = "conference.v3.meet.example"
	node      = "v3.meet.example"
	mainHost  = "main.example"
	mainRooms = "conference.main.example"
	visitors  = "visitors.main.example"
	nodeAddr  = "192.0.2.3:52693"
	mainAddr  = "192.0.2.1:5269"
	fromMain  = "192.0.2.1:40000"
	fromOther = "198.51.100.9:40000"
)

// got is one stanza the handler was given.
type got struct {
	stanza   string
	from, to wire.JID
}

// inbox is a Handler that keeps what it gets, but answers pings.
type inbox struct {
	answer func(from, to string, stanza []byte)

	mu    sync.Mutex
	all   []got
	links map[string]uint64
	hook  func(got) // may be nil; called without mu
}

func (b *inbox) Stanza(s *wire.Stanza) {
	if b.answer != nil && strings.HasPrefix(string(s.Raw), isPing) {
		b.answer(s.To.Domain, s.From.Domain, wire.AppendResult(nil, &s.Header, "", s.From.String(), nil))
		return
	}
	g := got{string(s.Raw), s.From, s.To}
	b.mu.Lock()
	b.all = append(b.all, g)
	hook := b.hook
	b.mu.Unlock()
	if hook != nil {
		hook(g)
	}
}

func (b *inbox) Link(peer string, change uint64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.links == nil {
		b.links = map[string]uint64{}
	}
	b.links[peer] = max(b.links[peer], change)
}

// changes returns how often the streams with a peer came up or were lost.
func (b *inbox) changes(peer string) uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.links[peer]
}

func (b *inbox) stanzas() (s []string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, g := range b.all {
		s = append(s, g.stanza)
	}
	return s
}

// lines is a log that can be asked what it was told.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// world is one Server under test with everything around it.
type world struct {
	*Server
	t   *testing.T
	in  *inbox
	log *lines
	reg *prometheus.Registry
	ln  *memListener
}

var (
	nodeCert = selfSigned(time.Now().Add(time.Hour), node, rooms)
	mainCert = selfSigned(time.Now().Add(time.Hour), mainHost, mainRooms, visitors)
)

func testConfig() Config {
	return Config{
		Hosts: []string{node, rooms},
		Peers: []string{mainHost, mainRooms, visitors},
		Main:  mainAddr,
		TLS:   &tls.Config{Certificates: []tls.Certificate{nodeCert}},
		Trust: Trust{},
	}
}

// newWorld starts a Server that listens in memory and, unless dial says
// otherwise, reaches nobody.
func newWorld(t *testing.T, change func(*Config), dial func(ctx context.Context) (net.Conn, error)) *world {
	t.Helper()
	c := testConfig()
	if change != nil {
		change(&c)
	}
	w := &world{t: t, in: &inbox{}, log: &lines{}, reg: prometheus.NewRegistry(), ln: newMemListener(nodeAddr)}
	log := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, err := New(c, w.in, log, w.reg)
	require.NoError(t, err)
	w.Server = s
	w.in.answer = s.Send
	s.dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		if dial == nil {
			return nil, errors.New("connection refused")
		}
		return dial(ctx)
	}
	served := make(chan error)
	go func() { served <- s.Serve(context.Background(), w.ln) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		_ = s.Close(ctx)
		require.NoError(t, <-served)
		if t.Failed() {
			t.Log(w.log.String())
		}
	})
	return w
}

// metric sums the samples of a metric whose labels contain all of the given
// values.
func (w *world) metric(name string, labels ...string) (sum float64) {
	w.t.Helper()
	families, err := w.reg.Gather()
	require.NoError(w.t, err)
	found := false
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			have := map[string]bool{}
			for _, l := range m.GetLabel() {
				have[l.GetValue()] = true
			}
			match := true
			for _, l := range labels {
				match = match && have[l]
			}
			if match {
				found = true
				sum += m.GetGauge().GetValue() + m.GetCounter().GetValue()
			}
		}
	}
	require.True(w.t, found, "no metric %s%v", name, labels)
	return sum
}

// peer is the other end of a stream, driven by a test.
type peer struct {
	t     *testing.T
	raw   *memConn
	conn  net.Conn
	r     *wire.Reader
	id    string      // of the stream, from the header of the server under test
	cert  *tls.Config // for STARTTLS
	state *tls.ConnectionState
	pings bool // read does not skip them
}

func newPeer(t *testing.T, c *memConn, cert tls.Certificate) *peer {
	p := &peer{t: t, raw: c, conn: c, r: wire.NewReader(c, wire.Limits{MaxBytes: 1 << 20}), cert: &tls.Config{
		Certificates: []tls.Certificate{cert}, InsecureSkipVerify: true, ClientAuth: tls.RequestClientCert}}
	return p
}

// connect opens a connection to the node.
func (w *world) connect(from string, cert tls.Certificate) *peer {
	w.t.Helper()
	c, err := w.ln.dialFrom(context.Background(), from)
	require.NoError(w.t, err)
	return newPeer(w.t, c, cert)
}

func (p *peer) write(s string) {
	p.t.Helper()
	if s == success {
		p.r.Restart()
	}
	_, err := p.conn.Write([]byte(s))
	require.NoError(p.t, err)
}

// closed is what read returns at the end of the connection.
const closed = "EOF"

var (
	idAttr  = regexp.MustCompile(` id='[^']*'`)
	keyText = regexp.MustCompile(`[0-9a-f]{64}`)
)

// isPing begins a ping of the server under test.
const isPing = "<iq type='get' id='" + pingPrefix

// read returns the next token, or closed. Pings are left out.
func (p *peer) read() string {
	p.t.Helper()
	tok, err := p.r.Next()
	if err != nil {
		return closed
	}
	s := string(tok.Data)
	if strings.HasPrefix(s, isPing) && !p.pings {
		return p.read()
	}
	if tok.Kind == wire.StreamStart {
		h, err := wire.ParseHeader(tok.Data)
		require.NoError(p.t, err)
		p.id = wire.Unescape(h.ID)
		s = idAttr.ReplaceAllString(s, "")
	}
	if s == success {
		p.r.Restart()
	}
	return keyText.ReplaceAllString(s, "KEY")
}

// expect reads as many tokens as there are arguments and compares them; ids of
// stream headers are left out and dialback keys are read as KEY.
func (p *peer) expect(want ...string) {
	p.t.Helper()
	for _, w := range want {
		require.Equal(p.t, w, p.read())
	}
}

// expectAround expects elements in this order, and another one anywhere around
// them: the writer may look before or behind what else becomes ready with it.
func (p *peer) expectAround(anywhere string, want ...string) {
	p.t.Helper()
	var got []string
	for range len(want) + 1 {
		got = append(got, p.read())
	}
	at := slices.Index(got, anywhere)
	require.GreaterOrEqual(p.t, at, 0, "%q", got)
	require.Equal(p.t, want, slices.Delete(got, at, at+1))
}

// tlsClient and tlsServer encrypt the connection.
func (p *peer) tlsClient() {
	p.t.Helper()
	c := p.cert.Clone()
	c.ServerName = node
	t := tls.Client(p.conn, c)
	require.NoError(p.t, t.Handshake())
	p.secured(t)
}

func (p *peer) tlsServer() {
	p.t.Helper()
	t := tls.Server(p.conn, p.cert)
	require.NoError(p.t, t.Handshake())
	p.secured(t)
}

func (p *peer) secured(t *tls.Conn) {
	p.conn = t
	s := t.ConnectionState()
	p.state = &s
	p.r.Reset(t)
}

func header(from, to string) string {
	return "<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams'" +
		" xmlns:db='jabber:server:dialback' from='" + from + "' to='" + to + "' version='1.0' xml:lang='en'>"
}

// answerHeader is header without the XML declaration, which the framer drops.
func answerHeader(from, to string) string {
	return strings.TrimPrefix(header(from, to), "<?xml version='1.0'?>")
}

const (
	limitsElem   = "<limits xmlns='urn:xmpp:stream-limits:0'><max-bytes>524288</max-bytes><idle-seconds>840</idle-seconds></limits>"
	startTLS     = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
	proceed      = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"
	tlsFeatures  = "<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>" + limitsElem + "</stream:features>"
	mechanisms   = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>EXTERNAL</mechanism></mechanisms>"
	bidiFeature  = "<bidi xmlns='urn:xmpp:features:bidi'/>"
	dialbackFeat = "<dialback xmlns='urn:xmpp:features:dialback'><errors/></dialback>"
	authFeatures = "<stream:features>" + bidiFeature + mechanisms + dialbackFeat + limitsElem + "</stream:features>"
	onlyDialback = "<stream:features>" + bidiFeature + dialbackFeat + limitsElem + "</stream:features>"
	lastFeatures = "<stream:features>" + dialbackFeat + "<sm xmlns='urn:xmpp:sm:3'/>" + limitsElem + "</stream:features>"
	success      = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
	bidi         = "<bidi xmlns='urn:xmpp:bidi'/>"
)

func auth(base64 string) string {
	return "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>" + base64 + "</auth>"
}

func saslFail(condition string) string {
	return "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><" + condition + "/></failure>"
}

func streamError(condition, text string) string {
	s := "<stream:error><" + condition + " xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
	if text != "" {
		s += "<text xmlns='urn:ietf:params:xml:ns:xmpp-streams'>" + text + "</text>"
	}
	return s + "</stream:error>"
}

// encrypted goes through the first stream and STARTTLS.
func (p *peer) encrypted(from, to string) {
	p.t.Helper()
	p.write(header(from, to))
	p.expect(answerHeader(to, from), tlsFeatures)
	p.write(startTLS)
	p.expect(proceed)
	p.tlsClient()
	p.write(header(from, to))
}

// authenticated goes all the way by SASL EXTERNAL.
func (p *peer) authenticated(from, to, extra string) {
	p.t.Helper()
	p.encrypted(from, to)
	p.expect(answerHeader(to, from), authFeatures)
	p.write(extra + auth("="))
	p.expect(success)
	p.write(header(from, to))
	p.expect(answerHeader(to, from), lastFeatures)
}

// within runs f in a bubble of fake time.
func within(t *testing.T, f func(t *testing.T)) { synctest.Test(t, f) }

// certificate authorities and certificates for the tests.

type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

var serial = big.NewInt(time.Now().UnixNano())

func template(until time.Time, names []string) *x509.Certificate {
	serial.Add(serial, big.NewInt(1))
	return &x509.Certificate{
		SerialNumber: new(big.Int).Set(serial), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: until,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

func sign(tmpl, parent *x509.Certificate, pub *ecdsa.PublicKey, by *ecdsa.PrivateKey) []byte {
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, pub, by)
	if err != nil {
		panic(fmt.Sprint("test certificate: ", err))
	}
	return der
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(fmt.Sprint("test key: ", err))
	}
	return key
}

func selfSigned(until time.Time, names ...string) tls.Certificate {
	key := newKey()
	tmpl := template(until, names)
	der := sign(tmpl, tmpl, &key.PublicKey, key)
	leaf, _ := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func newAuthority() *authority {
	key := newKey()
	tmpl := template(time.Now().Add(time.Hour), []string{"Test CA"})
	tmpl.IsCA, tmpl.BasicConstraintsValid, tmpl.KeyUsage = true, true, x509.KeyUsageCertSign
	cert, _ := x509.ParseCertificate(sign(tmpl, tmpl, &key.PublicKey, key))
	return &authority{cert, key}
}

func (a *authority) issue(until time.Time, names ...string) tls.Certificate {
	key := newKey()
	der := sign(template(until, names), a.cert, &key.PublicKey, a.key)
	leaf, _ := x509.ParseCertificate(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// samples counts the observations of a histogram.
func (w *world) samples(name string) uint64 {
	w.t.Helper()
	families, err := w.reg.Gather()
	require.NoError(w.t, err)
	for _, f := range families {
		if f.GetName() == name {
			return f.GetMetric()[0].GetHistogram().GetSampleCount()
		}
	}
	require.Fail(w.t, "no histogram "+name)
	return 0
}
