package s2s

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"time"

	"vnode/internal/wire"
)

// maxAuthElements bounds what a peer may say before it has authenticated.
const maxAuthElements = 64

// maxSASLFailures is how often SASL may fail on one stream, RFC 6120 §6.4.5.
const maxSASLFailures = 3

// acceptAndServe is the life of an incoming stream.
func (st *stream) acceptAndServe() {
	if err := st.guarded(st.negotiate); err != nil {
		st.end(endingOf(err, st.phase))
		st.refused(st.finish())
		return
	}
	st.serve()
}

// negotiate brings an incoming stream to where stanzas may flow: header,
// STARTTLS, header, authentication, and after SASL a header once more (RFC
// 6120 §4.3). The stream is ready when it returns nil.
func (st *stream) negotiate() error {
	if err := st.sniff(); err != nil {
		return err
	}
	if !st.secure {
		if err := st.openIn(); err != nil {
			return err
		}
		if err := st.awaitStartTLS(); err != nil {
			return err
		}
	}
	if err := st.openIn(); err != nil {
		return err
	}
	return st.authenticate()
}

// sniff reads the first byte: a TLS handshake record means direct TLS.
func (st *stream) sniff() error {
	st.await("stream header", st.cfg.NegotiationTimeout)
	first := make([]byte, 1)
	if _, err := io.ReadFull(st.raw, first); err != nil {
		return err
	}
	st.conn = &unread{Conn: st.raw, first: first}
	if first[0] != tlsHandshake {
		st.r.Reset(st.conn)
		return nil
	}
	return st.handshake(tls.Server(st.conn, st.cfg.server))
}

const tlsHandshake = 0x16 // RFC 8446 §5.1

// unread is a connection whose first bytes were read already.
type unread struct {
	net.Conn
	first []byte
}

func (c *unread) Read(p []byte) (int, error) {
	if len(c.first) == 0 {
		return c.Conn.Read(p)
	}
	n := copy(p, c.first)
	c.first = c.first[n:]
	return n, nil
}

// handshake makes t, which is not shaken hands yet, the connection of the
// stream. What the peer sent in clear behind its last element must not be
// believed (RFC 6120 §5.4.3.3), nor is it a part of the handshake.
func (st *stream) handshake(t *tls.Conn) error {
	st.await("TLS handshake", st.cfg.NegotiationTimeout)
	st.raw.SetWriteDeadline(time.Now().Add(st.cfg.NegotiationTimeout))
	st.mute = true
	if st.r.Reset(t) > 0 {
		return because(BadProtocol, errors.New("data in clear behind STARTTLS"))
	}
	if err := t.Handshake(); errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	} else if err != nil {
		return because(TLSFailed, err)
	}
	st.mute, st.secure, st.opened, st.conn = false, true, false, t
	return nil
}

// openIn reads the header of a stream and answers with ours and the features.
func (st *stream) openIn() error {
	st.await("stream header", st.cfg.NegotiationTimeout)
	st.opened, st.id = false, rand.Text()
	h, err := st.readHeader()
	if err != nil {
		if st.local == "" {
			st.setDomains(domainPair{local: short(h.To), remote: short(h.From)}) // for the header that goes before the error
		}
		return err
	}
	if err := st.checkHeader(h); err != nil {
		return err
	}
	st.opened = true
	return st.send(st.appendFeatures(st.appendHeader(nil)))
}

// checkHeader decides whether this peer may talk to that host at all.
func (st *stream) checkHeader(h wire.StreamHeader) error {
	to, okTo := domain(h.To)
	from, okFrom := domain(h.From)
	if st.local != "" {
		if okTo && okFrom && to == st.local && from == st.remote {
			return nil
		}
		return refuse(BadAddress, wire.ImproperAddressing, "the new stream header names other domains than the first")
	}
	st.setDomains(domainPair{local: short(h.To), remote: short(h.From)}) // as said, for the answer and the log
	switch {
	case !okTo || !okFrom:
		return refuse(BadAddress, wire.ImproperAddressing, "a stream between servers needs the domains from and to")
	case !st.cfg.hosts[to]:
		return refuse(HostUnknown, wire.HostUnknown, unserved(st.local))
	case st.cfg.hosts[from]:
		return refuse(OwnHost, wire.UndefinedCondition, "Attempt to connect from a host we serve")
	case !st.cfg.peers[from]:
		return refuse(NotAllowed, wire.PolicyViolation, restricted)
	}
	st.setDomains(domainPair{local: to, remote: from})
	return nil
}

// appendFeatures appends what the peer may do next: TLS, then authentication,
// then nothing but stanzas and further dialback.
func (st *stream) appendFeatures(b []byte) []byte {
	b = append(b, "<stream:features>"...)
	if !st.secure {
		b = append(b, "<starttls xmlns='"+wire.NSTLS+"'><required/></starttls>"...)
		return append(st.appendLimits(b), "</stream:features>"...)
	}
	if st.method == "" {
		b = append(b, "<bidi xmlns='"+nsBidiFeature+"'/>"...)
		if st.vouched() != "" {
			b = append(b, "<mechanisms xmlns='"+wire.NSSASL+"'><mechanism>EXTERNAL</mechanism></mechanisms>"...)
		}
	}
	if !st.cfg.Trust.NoDialback {
		b = append(b, "<dialback xmlns='"+nsDialbackFeature+"'><errors/></dialback>"...)
	}
	if st.method != "" {
		b = append(b, smFeature...)
	}
	return append(st.appendLimits(b), "</stream:features>"...)
}

// announcedIdle is the silence, in seconds, we say we accept. It is what
// Prosody says, and like Prosody we do not end a stream for it: the kernel
// finds peers that are gone, see tune.
const announcedIdle = "840"

// appendLimits announces what we accept, XEP-0478.
func (st *stream) appendLimits(b []byte) []byte {
	b = append(b, "<limits xmlns='"+wire.NSLimits+"'><max-bytes>"...)
	b = strconv.AppendInt(b, int64(st.cfg.MaxBytes), 10)
	return append(b, "</max-bytes><idle-seconds>"+announcedIdle+"</idle-seconds></limits>"...)
}

// noteLimits reads the peer's limits from its features or its <bidi/>.
func (st *stream) noteLimits(elem []byte) {
	limits, ok := wire.FindChild(elem, wire.NSLimits, "limits")
	if !ok {
		return
	}
	for c := range wire.Children(limits.Raw) {
		n, err := strconv.Atoi(strings.TrimSpace(c.Text()))
		if err != nil || n <= 0 {
			continue
		}
		switch c.Local {
		case "max-bytes":
			st.peerMax = max(n, minMaxBytes)
		case "idle-seconds":
			st.peerIdle = time.Duration(max(min(n, 24*3600), 2)) * time.Second
		}
	}
}

// awaitStartTLS takes the only step there is before encryption.
func (st *stream) awaitStartTLS() error {
	st.await("STARTTLS", st.cfg.NegotiationTimeout)
	_, h, err := st.next()
	if err != nil {
		return err
	}
	space, local := st.name(&h)
	switch {
	case space == wire.NSTLS && local == "starttls":
		if err := st.send([]byte("<proceed xmlns='" + wire.NSTLS + "'/>")); err != nil {
			return err
		}
		return st.handshake(tls.Server(st.conn, st.cfg.server))
	case space == wire.NSSASL:
		if err := st.send(saslFailure("encryption-required")); err != nil {
			return err
		}
		return refuse(Unauthenticated, wire.PolicyViolation, "STARTTLS is required")
	case h.IsStanza(wire.NSServer):
		return refuse(Unauthenticated, wire.NotAuthorized, "")
	}
	return refuse(BadProtocol, wire.PolicyViolation, "STARTTLS is required")
}

// authenticate lets the peer prove who it is, by SASL EXTERNAL or dialback.
func (st *stream) authenticate() error {
	st.await("authentication", st.cfg.NegotiationTimeout)
	var auth saslState
	for range maxAuthElements {
		elem, h, err := st.next()
		if err != nil {
			return err
		}
		space, local := st.name(&h)
		switch {
		case space == wire.NSSASL:
			err = st.sasl(elem, &h, local, &auth)
		case space == nsBidi && local == "bidi":
			st.bidi = true
			st.noteLimits(elem)
		case space == nsDialback:
			err = st.dialback(elem, &h, local)
		case h.IsStanza(wire.NSServer):
			err = refuse(Unauthenticated, wire.NotAuthorized, "")
		default:
			err = refuse(BadProtocol, wire.UnsupportedStanzaType, "")
		}
		if err != nil || st.method != "" {
			return err
		}
	}
	return refuse(AuthFailed, wire.PolicyViolation, "too much said before authentication")
}

// saslState is what SASL remembers from one element to the next.
type saslState struct {
	failures   int
	challenged bool // the peer was asked for its response
}

// sasl handles one element of SASL EXTERNAL (RFC 6120 §6, XEP-0178 §3).
func (st *stream) sasl(elem []byte, h *wire.Header, local string, auth *saslState) error {
	text := bytes.TrimSpace(h.Inner(elem))
	condition := ""
	switch {
	case local == "auth" && (h.Attr("mechanism") != "EXTERNAL" || st.vouched() == ""):
		condition = "invalid-mechanism"
	case local == "auth" && len(text) == 0:
		// No initial response: ask for it (RFC 4422 §5, RFC 6120 §6.4.2).
		auth.challenged = true
		return st.send([]byte("<challenge xmlns='" + wire.NSSASL + "'/>"))
	case local == "auth" || local == "response" && auth.challenged:
		condition = st.checkAuthzid(wire.Unescape(text))
	case local == "abort":
		condition = "aborted"
	default:
		condition = "malformed-request"
	}
	auth.challenged = false
	if condition == "" {
		return st.succeed()
	}
	if err := st.send(saslFailure(condition)); err != nil {
		return err
	}
	if auth.failures++; auth.failures >= maxSASLFailures {
		return refuse(AuthFailed, wire.NotAuthorized, "too many failed attempts")
	}
	return nil
}

// checkAuthzid checks the authorization identity: it must be empty or the
// domain the stream comes from. It returns the condition of a failure, or "".
func (st *stream) checkAuthzid(text string) (condition string) {
	if text == "" || text == "=" {
		return ""
	}
	b, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return "incorrect-encoding"
	}
	if d, ok := domain(string(b)); !ok || d != st.remote {
		return "invalid-authzid"
	}
	return ""
}

// succeed ends SASL and opens the stream that carries stanzas.
func (st *stream) succeed() error {
	if err := st.send([]byte("<success xmlns='" + wire.NSSASL + "'/>")); err != nil {
		return err
	}
	st.method = "EXTERNAL, " + st.vouched()
	st.r.Restart()
	if err := st.openIn(); err != nil {
		return err
	}
	st.becomeReady()
	return nil
}

func saslFailure(condition string) []byte {
	return []byte("<failure xmlns='" + wire.NSSASL + "'><" + condition + "/></failure>")
}

// vouched says what speaks for the peer, "" when nothing does. It is asked
// once, when the features of the secured stream are built.
func (st *stream) vouched() string {
	if st.voucher == nil {
		v := st.srv.vouch(st.cfg, st.peerCertificates(), peerAddr(st.raw), st.remote)
		st.voucher = &v
	}
	return *st.voucher
}

func peerAddr(c net.Conn) netip.Addr {
	a, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap().WithZone("")
}
