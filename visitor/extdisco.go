package visitor

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"fmt"
	"strconv"
	"sync/atomic"
	"time"

	"vnode/internal/wire"
)

// External services, XEP-0215: the STUN and TURN servers clients are told.

const nsExtdisco1, nsExtdisco2 = "urn:xmpp:extdisco:1", "urn:xmpp:extdisco:2"

// Service is one external service.
type Service struct {
	Type string // such as "stun", "turn" or "turns"
	Host string // name or address
	Port int    // 1 to 65535; 0 means the default of Type
	// Transport is "udp", "tcp", or empty where Type says enough.
	Transport string
	// Secret is what the node and a TURN server share. With it each client
	// gets credentials that are good for TTL: the time they end at, in Unix
	// seconds, and its HMAC-SHA-1 (the TURN REST API's scheme).
	Secret Secret
	TTL    time.Duration // whole seconds, a minute at least; default 24 h
	// Username and Password are told as they stand when there is no Secret.
	Username string
	Password Secret
	// Restricted says that the service wants credentials, as one with a
	// Secret does in any case.
	Restricted bool
}

// Secret is a text that is kept out of logs.
type Secret string

// String implements fmt.Stringer, without the secret.
func (Secret) String() string { return "[secret]" }

// GoString implements fmt.GoStringer, without the secret.
func (Secret) GoString() string { return "[secret]" }

// MarshalText implements encoding.TextMarshaler, without the secret.
func (Secret) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

const defaultServiceTTL = 24 * time.Hour

func (s *Service) validate() error {
	wrong := func(text string) error { return fmt.Errorf("service %q at %q: %s", s.Type, s.Host, text) }
	switch {
	case s.Type == "" || s.Host == "":
		return wrong("type and host are needed")
	case s.Port < 0 || s.Port > 65535:
		return wrong("no such port")
	case s.Transport != "" && s.Transport != "udp" && s.Transport != "tcp":
		return wrong("transport is neither udp nor tcp")
	case s.TTL != 0 && (s.TTL < time.Minute || s.TTL%time.Second != 0):
		return wrong("credentials must be good for a minute at least, in whole seconds")
	case s.Secret != "" && (s.Username != "" || s.Password != ""):
		return wrong("credentials are fixed or made of a secret, not both")
	case (s.Username == "") != (s.Password == ""):
		return wrong("username and password go together")
	}
	return nil
}

// services answers for the external services. Answers to the usual request are
// encoded once and used for a while: each client that joins asks.
type services struct {
	// Static after construction.
	all []Service

	// Shared.
	cached1, cached2 atomic.Pointer[cachedServices] // by version of the protocol
}

type cachedServices struct {
	payload []byte
	until   time.Time // when it is too old
}

// freshness is how long an answer is used, at most a tenth of what its
// credentials are good for.
const freshness = time.Minute / 10

func newServices(list []Service) *services {
	all := make([]Service, len(list))
	for i, s := range list {
		if s.TTL == 0 {
			s.TTL = defaultServiceTTL
		}
		all[i] = s
	}
	return &services{all: all}
}

// askServices answers a request for services or for the credentials of one.
func (s *Session) askServices(h *wire.Header, data []byte) {
	req, _ := wire.FirstChild(data) // there is one, of these names
	var payload []byte
	ok := true
	switch req.Local {
	case "services":
		payload = s.srv.services.list(&req, time.Now())
	case "credentials":
		payload, ok = s.srv.services.credentials(&req, time.Now())
	default:
		s.unavailable(h)
		return
	}
	if !ok {
		s.refuse(h, wire.ErrItemNotFound)
		return
	}
	s.result(h, payload)
}

// list answers <services/>, maybe for one type alone (XEP-0215 §3.1 and §3.2).
func (s *services) list(req *wire.Child, now time.Time) []byte {
	if typ := req.Attr("type"); typ != "" {
		return s.encode("services", req.Space, now, func(x *Service) bool { return x.Type == typ })
	}
	cache := &s.cached2
	if req.Space == nsExtdisco1 {
		cache = &s.cached1
	}
	if c := cache.Load(); c != nil && now.Before(c.until) {
		return c.payload
	}
	payload := s.encode("services", req.Space, now, func(*Service) bool { return true })
	cache.Store(&cachedServices{payload, now.Add(freshness)})
	return payload
}

// credentials answers <credentials/>, which names a service by type, host and
// maybe port (XEP-0215 §3.3). False means that there is none.
func (s *services) credentials(req *wire.Child, now time.Time) (payload []byte, ok bool) {
	asked, ok := wire.FindChild(req.Raw, req.Space, "service")
	if !ok {
		return nil, false
	}
	typ, host, port := asked.Attr("type"), asked.Attr("host"), asked.Attr("port")
	found := false
	payload = s.encode("credentials", req.Space, now, func(x *Service) bool {
		is := x.Type == typ && x.Host == host && (port == "" || port == strconv.Itoa(x.Port))
		found = found || is
		return is
	})
	return payload, found
}

func (s *services) encode(name, space string, now time.Time, want func(*Service) bool) []byte {
	b := wire.NewBuilder(nil).Start(name, "xmlns", space)
	for i := range s.all {
		if x := &s.all[i]; want(x) {
			x.append(b, now)
		}
	}
	return b.Bytes()
}

func (s *Service) append(b *wire.Builder, now time.Time) {
	b.Start("service", "type", s.Type, "host", s.Host)
	if s.Port != 0 {
		b.Attr("port", strconv.Itoa(s.Port))
	}
	b.Attr("transport", s.Transport)
	if s.Secret == "" {
		b.Attr("username", s.Username).Attr("password", string(s.Password))
	} else {
		expires := now.Add(s.TTL)
		user := strconv.FormatInt(expires.Unix(), 10)
		b.Attr("username", user).Attr("password", s.Secret.sign(user)).
			Attr("expires", expires.UTC().Format(time.RFC3339)) // XEP-0082
	}
	if s.Restricted || s.Secret != "" {
		b.Attr("restricted", "1")
	}
	b.End()
}

// sign is the password of a user name that says when it ends.
func (s Secret) sign(user string) string {
	mac := hmac.New(sha1.New, []byte(s))
	mac.Write([]byte(user))
	return base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
