package visitor

import (
	"net/http"
	"strings"

	"vnode/fanout"
	"vnode/internal/wire"
	"vnode/visitor/admission"
	"vnode/visitor/bosh"
)

// BOSHPath is where BOSH is, as Jitsi's clients expect.
const BOSHPath = "/http-bind"

// newBOSH makes the endpoint. Sessions are admitted as connections are; twice
// as many may be kept, for clients that have yet to hear of their end.
func (s *Server) newBOSH() {
	l := &s.cfg.Limits
	s.bosh = bosh.NewServer(bosh.Config{
		Sessions: 2 * l.Connections, BodyBytes: 2 * l.NegotiationBytes, InputBytes: l.StanzaBytes,
		Domain: s.cfg.Domain, Shard: s.cfg.Shard, Guard: s.cfg.Guard,
	}, s.acceptBOSH)
}

// acceptBOSH takes a session of BOSH as a connection.
func (s *Server) acceptBOSH(c *bosh.Conn, r *http.Request) bool {
	info := s.cfg.Requests.Read(r)
	peer := admission.Key(info.Client)
	// It does not wait: strophe asks again by itself.
	if s.admit(r.Context(), peer, admission.Join, 0) != nil {
		return false
	}
	place := placed{srv: s, peer: peer}
	defer place.unlessGiven()
	st := s.newStream(c, transportBOSH, info.Secure)
	st.tell(peer, info)
	st.t = newBOSHTransport(c, &st.meter, s.cfg.Limits.NegotiationBytes)
	place.given = true
	return s.start(st)
}

// boshTransport is XEP-0206's. There are no stream headers: the attributes of
// bodies stand for the client's, and the session's creation for ours.
type boshTransport struct {
	conn   *bosh.Conn
	meter  *meter
	limits wire.Limits
	opened wire.StreamHeader // of the latest start or restart
}

func newBOSHTransport(c *bosh.Conn, m *meter, maxBytes int) *boshTransport {
	return &boshTransport{conn: c, meter: m, limits: wire.Limits{MaxBytes: maxBytes}}
}

// next waits for what the element before has cost. Unlike bytes, an element
// comes at once: that can take as long as the largest one lasts at the rate a
// client may send.
func (t *boshTransport) next() (event, error) {
	for !t.meter.pay() {
	}
	ev, err := t.conn.Next()
	if err != nil {
		return event{}, err
	}
	switch ev.Kind {
	case bosh.Open:
		t.opened = ev.Header
		return event{kind: eventHeader}, nil
	case bosh.End:
		return event{kind: eventEnd}, nil
	case bosh.Poll:
		return event{kind: eventOther}, nil
	}
	t.meter.charge(len(ev.Data))
	return t.element(ev.Data)
}

// element checks an element, on a frame of its own, as wsTransport.text does.
//
//go:noinline
func (t *boshTransport) element(data []byte) (event, error) {
	data, outside, err := wire.Accept(data, t.limits)
	return event{eventElement, outside, data}, err
}

func (t *boshTransport) header([]byte) (wire.StreamHeader, error) {
	if !strings.HasPrefix(t.opened.Version, "1.") { // RFC 6120 §4.7.5
		return t.opened, wire.StreamError{Condition: wire.UnsupportedVersion}
	}
	return t.opened, nil
}

func (t *boshTransport) restart() {}
func (t *boshTransport) rest()    {}

// limit bounds a body as well: strophe puts all that it has into one.
func (t *boshTransport) limit(maxBytes int) {
	t.limits.MaxBytes = maxBytes
	t.conn.SetLimit(2 * maxBytes)
}

func (t *boshTransport) appendHeader(dst []byte, _ *wire.StreamHeader) []byte { return dst }
func (t *boshTransport) appendElement(dst, elem []byte) []byte                { return append(dst, elem...) }
func (t *boshTransport) appendEnd(dst []byte) []byte                          { return dst }
func (t *boshTransport) output() *output                                      { return &boshOutput }

// boshOutput has no end: the connection's CloseWrite says it. A client between
// two requests takes nothing: its session's inactivity bounds that, and the rest
// waits in the room's log meanwhile.
var boshOutput = output{framing: fanout.Raw, patient: true, overflow: fanout.NewNonza(errSlow.Append(nil, false))}
