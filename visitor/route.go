package visitor

import (
	"sync"
	"time"

	"vnode/fanout"
	"vnode/internal/wire"
)

// isStanza reports whether the element is a message, presence or IQ. On
// WebSocket a stanza should declare jabber:client (RFC 7395 §3.3.3); one that
// declares nothing is taken for it, as Prosody takes it.
func isStanza(h *wire.Header) bool { return h.IsStanza(wire.NSClient, "") }

// stanzas are reused: the Handler, to which they go, could keep one as far as the
// compiler knows, and each has 330 bytes.
var stanzas = sync.Pool{New: func() any { return new(wire.Stanza) }}

// element handles a top-level element. The error ends the stream.
func (s *Session) element(ev event) error {
	st := stanzas.Get().(*wire.Stanza)
	defer func() {
		*st = wire.Stanza{}
		stanzas.Put(st)
	}()
	h := &st.Header
	var err error
	if *h, err = wire.ParseHeader(ev.data); err != nil {
		return err
	}
	if ev.outside != 0 {
		h.Unprefix()
	}
	if !isStanza(h) {
		if ev.outside != 0 {
			return ev.outside.StreamError()
		}
		if space, local := h.QName(); space == wire.NSSM {
			return s.streamManagement(h, local)
		}
		return errUnsupported
	}
	s.srv.metrics.stanzas.Inc()
	s.srv.metrics.bytes.Add(float64(len(ev.data)))
	if s.acks.Load() {
		s.counted.Add(1)
	}
	if ev.outside != 0 {
		return s.outside(h, ev)
	}
	st.Raw = ev.data
	s.route(st)
	return nil
}

// route answers a stanza or passes it on. What the client wrote as 'from' plays
// no part: the stanza is this session's.
func (s *Session) route(st *wire.Stanza) {
	h := &st.Header
	var err error
	if st.To, err = wire.ParseAddress(h.To); err != nil {
		s.refuse(h, wire.ErrJIDMalformed)
		return
	}
	q, ok := examine(st)
	if !ok {
		s.refuse(h, wire.ErrBadRequest)
		return
	}
	st.From = s.JID()
	host := s.srv.hosts[st.To.Domain]
	switch {
	case st.To.IsZero() || st.To == st.From.Bare():
		s.toAccount(h, q)
	case host == nil && !s.mayEnter(h, st.To):
		s.refuse(h, errOtherRoom)
	case host == nil:
		began := time.Now()
		s.srv.handler.Stanza(s, st)
		s.srv.gate.Observe(time.Since(began)) // it waits for rooms that are busy
	case st.To.Local == "":
		s.toHost(host, h, q, st.Raw)
	default:
		// Other clients are reached through rooms only.
		s.unavailable(h)
	}
}

// examine checks what RFC 6120 §8.2.3 and RFC 6121 §4.7.1 demand of a stanza's
// type and content. For an IQ request it returns what is asked.
func examine(st *wire.Stanza) (query, bool) {
	switch string(st.Name) {
	case "presence":
		switch string(st.Type) {
		case "", "unavailable", "error", "probe", "subscribe", "subscribed", "unsubscribe", "unsubscribed":
			return query{}, true
		}
		return query{}, false
	case "message":
		return query{}, true // an unknown type means normal, RFC 6121 §5.2.2
	}
	if len(st.ID) == 0 {
		return query{}, false
	}
	switch string(st.Type) {
	case "result", "error":
		return query{}, true
	case "get", "set":
		return examineRequest(st)
	}
	return query{}, false
}

// examineRequest wants exactly one payload.
func examineRequest(st *wire.Stanza) (q query, ok bool) {
	for c := range st.Children() {
		if ok {
			return query{}, false
		}
		q, ok = query{string(st.Type) == "set", c.Space, c.Local}, true
	}
	return q, ok
}

// toAccount handles a stanza to the client's own account. Presence of a client
// without contacts tells nobody anything.
func (s *Session) toAccount(h *wire.Header, q query) {
	if q.local != "" {
		s.answer(h, askAccount, q)
		return
	}
	s.unavailable(h)
}

func (s *Session) toHost(on *host, h *wire.Header, q query, data []byte) {
	if !q.set && (q.space == nsExtdisco2 || q.space == nsExtdisco1) {
		s.askServices(h, data)
		return
	}
	if q.local != "" {
		s.answer(h, func(q query) ([]byte, bool) { return s.srv.askHost(on, q) }, q)
		return
	}
	s.unavailable(h)
}

// answer sends the result of a request, or its error: an IQ must never stay
// without one (RFC 6120 §8.2.3).
func (s *Session) answer(h *wire.Header, ask func(query) ([]byte, bool), q query) {
	payload, ok := ask(q)
	if !ok {
		s.refuse(h, wire.ErrServiceUnavailable)
		return
	}
	s.result(h, payload)
}

func (s *Session) result(h *wire.Header, payload []byte) {
	s.Deliver(nil, fanout.NewPrivate(wire.AppendResult(nil, h, wire.NSClient, s.address.text, payload)))
}

// unavailable refuses a stanza for which there is nobody; presence is ignored
// (RFC 6121 §8.5).
func (s *Session) unavailable(h *wire.Header) {
	if string(h.Name) != "presence" {
		s.refuse(h, wire.ErrServiceUnavailable)
	}
}

// refuse answers a stanza with an error, where an answer is allowed.
func (s *Session) refuse(h *wire.Header, e wire.StanzaError) {
	if wire.Answerable(h) {
		s.Deliver(nil, fanout.NewPrivate(wire.AppendErrorReply(nil, h, wire.NSClient, s.address.text, e)))
	}
}
