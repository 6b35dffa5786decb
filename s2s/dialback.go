package s2s

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"

	"mellium.im/xmpp/stanza"

	"vnode/internal/wire"
)

// maxDialbackKey bounds the key a peer may give us; ours has 64 bytes.
const maxDialbackKey = 1024

// maxChecks bounds the dialback checks under way for one ready stream.
const maxChecks = 8

// dialbackKey makes the key that originating shows receiving on the stream id,
// XEP-0185 §2.
func dialbackKey(secret, receiving, originating, id string) string {
	hashed := sha256.Sum256([]byte(secret))
	mac := hmac.New(sha256.New, []byte(hex.EncodeToString(hashed[:])))
	mac.Write([]byte(receiving + " " + originating + " " + id))
	return hex.EncodeToString(mac.Sum(nil))
}

// dialbackElement is a <db:result/> or <db:verify/> without its key.
type dialbackElement struct {
	name         string // result or verify
	from, to, id string
	kind         string // the type attribute
}

func (d dialbackElement) append(b []byte, content string) []byte {
	w := wire.NewBuilder(b).Start("db:"+d.name).Attr("from", d.from).Attr("to", d.to).Attr("id", d.id).Attr("type", d.kind)
	return w.Raw([]byte(content)).Bytes()
}

// dialback handles a dialback element on a stream where the peer may speak:
// <db:result/> with a key asks us to check that the peer is the domain it says
// (XEP-0220 §2.1.1, or §2.3 on a stream that carries other pairs already);
// <db:verify/> asks whether a key is ours (§2.2.1).
func (st *stream) dialback(elem []byte, h *wire.Header, local string) error {
	if st.cfg.Trust.NoDialback {
		return refuse(BadProtocol, wire.UnsupportedStanzaType, "dialback is not used here")
	}
	from, okFrom := domain(wire.Unescape(h.From))
	to, okTo := domain(wire.Unescape(h.To))
	if !okFrom || !okTo {
		return refuse(BadAddress, wire.ImproperAddressing, "dialback needs the domains from and to")
	}
	c := wire.Child{Header: *h, Raw: elem}
	key := c.Text()
	switch {
	case len(h.Type) > 0: // an answer to nothing we asked on this stream
		return nil
	case local == "result":
		return st.claim(domainPair{local: to, remote: from}, key)
	case local == "verify":
		return st.verifyOwn(domainPair{local: to, remote: from}, wire.Unescape(h.ID), key)
	}
	return refuse(BadProtocol, wire.UnsupportedStanzaType, "")
}

// verifyOwn says whether key is one we made for a stream to d.remote.
func (st *stream) verifyOwn(d domainPair, id, key string) error {
	answer := dialbackElement{name: "verify", from: d.local, to: d.remote, id: id}
	if e := st.cfg.dialbackError(d); e != nil {
		answer.kind = "error"
		return st.send(answer.append(nil, string(e.Append(nil))))
	}
	st.verified++
	answer.kind = "invalid"
	if hmac.Equal([]byte(key), []byte(dialbackKey(st.srv.secret, d.remote, d.local, id))) {
		answer.kind = "valid"
	} else {
		st.log.Warn("asked about a dialback key that is not ours: somebody claims to be "+d.local, "peer", d.remote)
	}
	return st.send(answer.append(nil, ""))
}

// dialbackError is why a pair cannot be proved by dialback at all, XEP-0220
// §2.4.2.
func (s *settings) dialbackError(d domainPair) *wire.StanzaError {
	switch {
	case !s.hosts[d.local]:
		e := wire.ErrItemNotFound
		return &e
	case !s.peers[d.remote]:
		return &wire.StanzaError{Type: stanza.Cancel, Condition: stanza.PolicyViolation, Text: restricted}
	}
	return nil
}

// claim checks a key with the server that dialing d.remote leads to. Before
// authentication the reader waits for the outcome, which makes the stream
// ready or ends it; later it reads on.
func (st *stream) claim(d domainPair, key string) error {
	if e := st.cfg.dialbackError(d); e != nil {
		return st.answerClaim(d, e)
	}
	if len(key) == 0 || len(key) > maxDialbackKey {
		return st.answerClaim(d, &wire.ErrNotAcceptable)
	}
	if st.method != "" {
		return st.claimMore(d, key)
	}
	valid, err := st.srv.verify(d, st.id, key)
	if err := st.answerVerified(d, valid, err); err != nil {
		return err
	}
	if !valid {
		return &ending{reason: AuthFailed, tell: wire.StreamError{Condition: wire.NotAuthorized, Text: "dialback failed"}, cause: err}
	}
	st.setDomains(d)
	st.method = "dialback"
	st.becomeReady()
	return nil
}

// claimMore checks a further pair of a ready stream without holding up the
// stanzas of the others.
func (st *stream) claimMore(d domainPair, key string) error {
	st.mu.Lock()
	full := st.checking >= maxChecks
	if !full {
		st.checking++
	}
	st.mu.Unlock()
	if full {
		return st.answerClaim(d, &wire.StanzaError{Type: stanza.Wait, Condition: stanza.ResourceConstraint})
	}
	id := st.id
	st.srv.wg.Go(func() {
		defer st.checked()
		if err := st.guarded(func() error { return st.check(d, id, key) }); err != nil {
			st.end(endingOf(err, "write"))
		}
	})
	return nil
}

// check decides about a further pair.
func (st *stream) check(d domainPair, id, key string) error {
	valid, err := st.srv.verify(d, id, key)
	if !valid {
		return st.answerVerified(d, false, err)
	}
	st.log.Info("stream carries one more pair", "pair", d.String(), "method", "dialback")
	st.prove(d, dialbackResult(d, "valid"))
	return nil
}

// checked is the end of a check of claimMore's.
func (st *stream) checked() {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.checking--
}

// dialbackResult answers a claim.
func dialbackResult(d domainPair, kind string) []byte {
	return dialbackElement{name: "result", from: d.local, to: d.remote, kind: kind}.append(nil, "")
}

// answerVerified tells the peer the outcome of a check.
func (st *stream) answerVerified(d domainPair, valid bool, err error) error {
	var e *ending
	switch {
	case valid:
		return st.send(dialbackResult(d, "valid"))
	case err == nil:
		return st.send(dialbackResult(d, "invalid"))
	case errors.As(err, &e) && e.gone():
		return st.answerClaim(d, &wire.ErrRemoteNotFound)
	}
	return st.answerClaim(d, &wire.ErrRemoteTimeout)
}

// answerClaim refuses a claim that was not decided.
func (st *stream) answerClaim(d domainPair, e *wire.StanzaError) error {
	return st.send(dialbackElement{name: "result", from: d.local, to: d.remote, kind: "error"}.append(nil, string(e.Append(nil))))
}

// verify asks the server at the configured address of d.remote whether it made
// key for the stream id to d.local (XEP-0220 §2.2). err is nil when it answered.
func (s *Server) verify(d domainPair, id, key string) (valid bool, err error) {
	ctx, cancel := context.WithTimeout(s.ctx, 2*s.cfg.Load().NegotiationTimeout)
	defer cancel()
	st, _, err := s.connect(ctx, d)
	if err != nil {
		return false, err
	}
	err = st.guarded(func() (err error) {
		valid, err = st.ask(ctx, id, key)
		return err
	})
	if err != nil {
		st.end(endingOf(err, st.phase))
	} else {
		st.end(because(Closed, nil))
	}
	st.finish()
	return valid, err
}

// ask sends the key on a stream opened for that and waits for the answer.
func (st *stream) ask(ctx context.Context, id, key string) (valid bool, err error) {
	defer st.endWith(ctx)()
	st.await("answer to db:verify", st.cfg.NegotiationTimeout)
	question := dialbackElement{name: "verify", from: st.local, to: st.remote, id: id}
	w := wire.AppendText(nil, key)
	if err := st.send(question.append(nil, string(w))); err != nil {
		return false, err
	}
	for range maxAuthElements {
		_, h, err := st.next()
		if err != nil {
			return false, err
		}
		space, local := st.name(&h)
		if space != nsDialback || local != "verify" || wire.Unescape(h.ID) != id {
			continue
		}
		switch string(h.Type) {
		case "valid":
			return true, nil
		case "invalid":
			return false, nil
		}
		return false, because(AuthFailed, errors.New("the peer cannot say whether the dialback key is its own"))
	}
	return false, refuse(BadProtocol, wire.PolicyViolation, "no answer to db:verify")
}
