package bosh

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"
)

const page = "vnode: XMPP over BOSH (XEP-0124, XEP-0206)\n"

// ServeHTTP implements http.Handler. A POST is a request of BOSH and blocks
// until there is something to answer, its time is up or the client is gone. A
// GET or HEAD, with which clients check that the node is there, gets a short
// page.
//
// Which origins' pages may ask is the caller's to say. Any may, as far as this
// goes: what a request may do depends on its sid, which no other page knows, and
// on no cookie.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	if s.cfg.Shard != "" {
		h.Set("X-Jitsi-Shard", s.cfg.Shard)
		h.Set("Access-Control-Expose-Headers", "X-Jitsi-Shard")
	}
	switch r.Method {
	case http.MethodPost:
		s.post(w, r)
	case http.MethodOptions:
		h.Set("Access-Control-Allow-Methods", "GET, HEAD, OPTIONS, POST")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		h.Set("Access-Control-Max-Age", "7200")
		w.WriteHeader(http.StatusNoContent)
	case http.MethodGet, http.MethodHead:
		h.Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, page) // a client that is gone needs no page
	default:
		h.Set("Allow", "GET, HEAD, OPTIONS, POST")
		http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
	}
}

func (s *Server) post(w http.ResponseWriter, r *http.Request) {
	b, limit, err := s.read(w, r)
	if err != nil {
		http.Error(w, "incomplete request", http.StatusBadRequest)
		return
	}
	req, err := parseRequest(b, limit)
	if err != nil {
		s.reply(w, s.refuse(req.sid, err))
		return
	}
	c, held, refusal := s.take(req, r)
	switch {
	case refusal != nil:
		s.reply(w, refusal)
		return
	case c == nil:
		w.Header().Set("Retry-After", "5")
		http.Error(w, "too many connections", http.StatusServiceUnavailable)
		return
	}
	select {
	case <-held.ready:
		s.answer(w, held)
	case <-r.Context().Done():
		c.left(req.rid, held)
	}
}

// take hands a request to its session, which is a new one when it has no sid.
// No session and no refusal means that there are too many.
func (s *Server) take(req *request, r *http.Request) (*Conn, *waiter, []byte) {
	if req.sid != "" {
		c := s.find(req.sid)
		if c == nil {
			return nil, nil, terminateBody(errNoSession.Condition, nil)
		}
		return c, c.receive(req), nil
	}
	if req.to == "" {
		return nil, nil, terminateBody(errNoTo.Condition, nil)
	}
	c, held := s.create(req, r)
	return c, held, nil
}

// refuse answers a request that is none, and ends the session it is of.
func (s *Server) refuse(sid string, err error) []byte {
	e := errBody
	errors.As(err, &e)
	if sid != "" {
		c := s.find(sid)
		if c == nil {
			return terminateBody(errNoSession.Condition, nil)
		}
		c.breach(e)
	}
	return terminateBody(e.Condition, nil)
}

// read returns the body of r and the limit for it, of which the body may have
// one byte too many. Then, and on an error, the connection is of no further use.
func (s *Server) read(w http.ResponseWriter, r *http.Request) (b []byte, limit int, err error) {
	// Not every ResponseWriter has deadlines; those of net/http do.
	rc := http.NewResponseController(w)
	_ = rc.SetReadDeadline(time.Now().Add(s.cfg.Transfer))
	limit = s.cfg.BodyBytes
	b, err = io.ReadAll(io.LimitReader(r.Body, int64(limit)+1))
	if c := s.find(sidOf(b)); err == nil && len(b) > limit && c != nil {
		var rest []byte
		limit = max(limit, int(c.limit.Load()))
		rest, err = io.ReadAll(io.LimitReader(r.Body, int64(limit-len(b))+1))
		b = append(b, rest...)
	}
	if err != nil || len(b) > limit {
		// The http.Server would read on to the request's end.
		w.Header().Set("Connection", "close")
		return b, limit, err
	}
	// Lifted: the request may be held longer, and the http.Server goes on
	// reading to see the client leave.
	_ = rc.SetReadDeadline(time.Time{})
	return b, limit, nil
}

// answer ends a held request.
func (s *Server) answer(w http.ResponseWriter, held *waiter) {
	if held.body == nil {
		// The client sent the request again. If it still listens here, it
		// is to ask once more.
		http.Error(w, "repeated on another connection", http.StatusServiceUnavailable)
		return
	}
	s.reply(w, held.body)
}

func (s *Server) reply(w http.ResponseWriter, body []byte) {
	h := w.Header()
	h.Set("Content-Type", "text/xml; charset=utf-8")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(s.cfg.Transfer))
	// What does not arrive is asked for again, with the same rid.
	_, _ = w.Write(body)
	_ = rc.Flush()
	_ = rc.SetWriteDeadline(time.Time{}) // the next request's answer may be hours away
}
