package s2s

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"vnode/internal/wire"
)

// features is what a receiving server offers.
type features struct {
	startTLS, external, bidi, dialback, sm bool
}

// open dials d.remote and negotiates until stanzas may flow. The caller serves
// the stream. ctx aborts it.
func (s *Server) open(ctx context.Context, d domainPair) (*stream, error) {
	st, offered, err := s.connect(ctx, d)
	if err != nil {
		return nil, err
	}
	defer st.endWith(ctx)()
	if err := st.guarded(func() error { return st.proveOurselves(offered) }); err != nil {
		return nil, st.abandon(err)
	}
	st.home = s.pair(d)
	if err := st.guarded(st.manage); err != nil {
		return nil, st.abandon(err)
	}
	if err := st.guarded(func() error { st.becomeReady(); return nil }); err != nil {
		return nil, st.abandon(err)
	}
	return st, nil
}

// connect dials d.remote and negotiates until the features of the encrypted
// stream have come: as far as a dialback check needs to go.
func (s *Server) connect(ctx context.Context, d domainPair) (*stream, features, error) {
	c := s.cfg.Load()
	t := c.target(d.remote)
	dialing, cancel := context.WithTimeout(ctx, c.NegotiationTimeout)
	defer cancel()
	conn, err := s.dial(dialing, "tcp", t.String())
	if err != nil {
		return nil, features{}, dialEnding(err)
	}
	s.reached(conn)
	tune(conn, c)
	st := newStream(s, conn, outbound)
	st.setDomains(d)
	defer st.endWith(ctx)()
	var offered features
	err = st.guarded(func() (err error) {
		offered, err = st.encrypt(t.direct)
		return err
	})
	if err != nil {
		return nil, features{}, st.abandon(err)
	}
	return st, offered, nil
}

// endWith ends the stream when ctx is done before stop is called.
func (st *stream) endWith(ctx context.Context) (stop func() bool) {
	return context.AfterFunc(ctx, func() {
		r := Shutdown
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			r = Timeout
		}
		st.end(because(r, ctx.Err()))
	})
}

// abandon ends a stream that was not to be.
func (st *stream) abandon(err error) error {
	st.end(endingOf(err, st.phase))
	return st.finish()
}

// encrypt opens the stream, starts TLS, looks at the certificate and opens the
// stream again.
func (st *stream) encrypt(direct bool) (features, error) {
	if !direct {
		if err := st.startTLS(); err != nil {
			return features{}, err
		}
	}
	if err := st.handshake(tls.Client(st.conn, st.cfg.clientTLS(st.local, st.remote, direct))); err != nil {
		return features{}, err
	}
	if err := st.srv.checkDialed(st.cfg, st.peerCertificates(), st.remote); err != nil {
		return features{}, err
	}
	return st.openOut()
}

func (st *stream) startTLS() error {
	offered, err := st.openOut()
	if err != nil {
		return err
	}
	if !offered.startTLS {
		return refuse(TLSFailed, wire.PolicyViolation, "STARTTLS is required and was not offered")
	}
	if err := st.send([]byte("<starttls xmlns='" + wire.NSTLS + "'/>")); err != nil {
		return err
	}
	st.await("answer to STARTTLS", st.cfg.NegotiationTimeout)
	_, h, err := st.next()
	if err != nil {
		return err
	}
	if space, local := st.name(&h); space != wire.NSTLS || local != "proceed" {
		return because(TLSFailed, fmt.Errorf("the peer answered STARTTLS with <%s/>", local))
	}
	return nil
}

// openOut sends our header and reads the peer's, then its features.
func (st *stream) openOut() (features, error) {
	st.id = ""
	if err := st.send(st.appendHeader(nil)); err != nil {
		return features{}, err
	}
	st.opened = true
	st.await("stream header", st.cfg.NegotiationTimeout)
	h, err := st.readHeader()
	if err != nil {
		return features{}, err
	}
	if from, ok := domain(h.From); h.From != "" && (!ok || from != st.remote) {
		return features{}, refuse(BadAddress, wire.InvalidFrom, "the answer is from another domain")
	}
	if h.ID == "" {
		return features{}, refuse(BadProtocol, wire.InvalidXML, "the stream has no id")
	}
	st.id = h.ID
	st.await("stream features", st.cfg.NegotiationTimeout)
	elem, eh, err := st.next()
	if err != nil {
		return features{}, err
	}
	if space, local := st.name(&eh); space != wire.NSStream || local != "features" {
		return features{}, refuse(BadProtocol, wire.UnsupportedStanzaType, "no stream features")
	}
	st.noteLimits(elem)
	return parseFeatures(elem), nil
}

func parseFeatures(elem []byte) (f features) {
	for c := range wire.Children(elem) {
		switch {
		case c.Space == wire.NSTLS && c.Local == "starttls":
			f.startTLS = true
		case c.Space == nsBidiFeature && c.Local == "bidi":
			f.bidi = true
		case c.Space == nsDialbackFeature && c.Local == "dialback":
			f.dialback = true
		case c.Space == wire.NSSM && c.Local == "sm":
			f.sm = true
		case c.Space == wire.NSSASL && c.Local == "mechanisms":
			for m := range wire.Children(c.Raw) {
				f.external = f.external || m.Local == "mechanism" && m.Text() == "EXTERNAL"
			}
		}
	}
	return f
}

// proveOurselves authenticates by SASL EXTERNAL if that is offered and works,
// else by dialback, and asks for bidi on the way.
func (st *stream) proveOurselves(offered features) error {
	if st.bidi = offered.bidi; st.bidi {
		b := append(st.appendLimits([]byte("<bidi xmlns='"+nsBidi+"'>")), "</bidi>"...)
		if err := st.send(b); err != nil {
			return err
		}
	}
	dialback := offered.dialback && !st.cfg.Trust.NoDialback
	if offered.external {
		err := st.external()
		if err == nil || !errors.As(err, new(saslFailed)) {
			return err
		}
		if !dialback {
			return because(AuthFailed, err)
		}
		st.log.Info("SASL EXTERNAL failed, trying dialback", "error", err)
	}
	if !dialback {
		return because(NoMethod, errors.New("the peer offers neither SASL EXTERNAL nor dialback"))
	}
	return st.dialBack()
}

// saslFailed is the condition of a SASL failure.
type saslFailed string

func (f saslFailed) Error() string { return "SASL EXTERNAL: " + string(f) }

// external is SASL EXTERNAL as the initiator, XEP-0178 §3. The authorization
// identity is always sent: Prosody takes none for an error.
func (st *stream) external() error {
	id := base64.StdEncoding.EncodeToString([]byte(st.local))
	if err := st.send([]byte("<auth xmlns='" + wire.NSSASL + "' mechanism='EXTERNAL'>" + id + "</auth>")); err != nil {
		return err
	}
	st.await("answer to SASL", st.cfg.NegotiationTimeout)
	elem, h, err := st.next()
	if err != nil {
		return err
	}
	space, local := st.name(&h)
	switch {
	case space == wire.NSSASL && local == "success":
	case space == wire.NSSASL && local == "failure":
		condition, _ := wire.FirstChild(elem)
		return saslFailed(strings.Clone(condition.Local))
	default:
		return refuse(BadProtocol, wire.UnsupportedStanzaType, "no answer to SASL")
	}
	st.r.Restart()
	st.method = "EXTERNAL"
	last, err := st.openOut()
	st.offersSM = last.sm
	return err
}

// dialBack shows the peer a key and waits until it has checked it by asking
// this server, XEP-0220 §2.1.
func (st *stream) dialBack() error {
	key := dialbackKey(st.srv.secret, st.remote, st.local, st.id)
	claim := dialbackElement{name: "result", from: st.local, to: st.remote}
	if err := st.send(claim.append(nil, key)); err != nil {
		return err
	}
	st.await("answer to dialback", 2*st.cfg.NegotiationTimeout)
	elem, h, err := st.next()
	if err != nil {
		return err
	}
	space, local := st.name(&h)
	switch {
	case space != nsDialback || local != "result":
		return refuse(BadProtocol, wire.UnsupportedStanzaType, "no answer to dialback")
	case string(h.Type) == "valid":
		st.method = "dialback"
		return nil
	case string(h.Type) == "error":
		return because(AuthFailed, fmt.Errorf("the peer could not check our dialback key: %s", errorCondition(elem)))
	}
	return because(AuthFailed, errors.New("dialback: the server the peer asked does not know our key"))
}

// errorCondition is the defined condition inside <error/>.
func errorCondition(elem []byte) string {
	for c := range wire.Children(elem) {
		if c.Local == "error" {
			condition, _ := wire.FirstChild(c.Raw)
			return condition.Local
		}
	}
	return "no reason given"
}
