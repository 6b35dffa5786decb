package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"vnode/internal/wire"
)

// Focus says how to log in as the focus.
type Focus struct {
	Addr     string // host:port of the node's client listener
	JID      string // full, e.g. focus@auth.meet.jitsi/focus
	Password string
	TLS      *tls.Config // for STARTTLS, where the node demands it
}

// focus is one connection of a focus. It reads as little as possible of what it
// gets: a room of 20,000 tells it of every visitor.
type focus struct {
	// Static after construction.
	jid  string
	done chan struct{} // closed when the stream has ended
	err  error         // why; static once done is closed

	visitors atomic.Int64             // available presences of visitors seen, less those gone
	errors   atomic.Int64             // answers of type error to our IQs
	flight   atomic.Pointer[inFlight] // told of answers; nil outside the relay experiment

	// Owned by the caller while logging in, then by the reader.
	r *wire.Reader

	mu   sync.Mutex // guards conn's writes
	conn net.Conn

	waitMu sync.Mutex
	// Guarded by waitMu.
	self    chan error             // the answer to the join
	waiting map[string]chan string // IQs by id: the type of the answer
}

const focusTime = 15 * time.Second // most a step may take

// dialFocus logs in.
func dialFocus(ctx context.Context, o Focus) (*focus, error) {
	user, rest, ok := strings.Cut(o.JID, "@")
	domain, resource, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return nil, fmt.Errorf("focus %q is no full JID", o.JID)
	}
	conn, err := (&net.Dialer{Timeout: focusTime}).DialContext(ctx, "tcp", o.Addr)
	if err != nil {
		return nil, fmt.Errorf("focus: %w", err)
	}
	f := &focus{
		jid: o.JID, conn: conn, r: wire.NewReader(conn, wire.Limits{}), done: make(chan struct{}), waiting: make(map[string]chan string),
	}
	_ = conn.SetDeadline(time.Now().Add(focusTime))
	if err := f.login(domain, user, resource, o); err != nil {
		_ = f.conn.Close()
		return nil, fmt.Errorf("focus: log in as %s: %w", o.JID, err)
	}
	_ = f.conn.SetDeadline(time.Time{})
	go f.read()
	return f, nil
}

func (f *focus) login(domain, user, resource string, o Focus) error {
	features, err := f.open(domain)
	if err != nil {
		return err
	}
	if !bytes.Contains(features, []byte("PLAIN")) && bytes.Contains(features, []byte(wire.NSTLS)) {
		if err := f.startTLS(domain, o.TLS); err != nil {
			return err
		}
		if _, err = f.open(domain); err != nil {
			return err
		}
	}
	plain := base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + o.Password))
	if _, err := f.ask("success", "<auth xmlns='"+wire.NSSASL+"' mechanism='PLAIN'>"+plain+"</auth>"); err != nil {
		return err
	}
	f.r.Restart()
	if _, err := f.open(domain); err != nil {
		return err
	}
	_, err = f.ask("iq", "<iq type='set' id='bind'><bind xmlns='"+wire.NSBind+"'><resource>"+resource+"</resource></bind></iq>")
	return err
}

func (f *focus) startTLS(domain string, conf *tls.Config) error {
	if _, err := f.ask("proceed", "<starttls xmlns='"+wire.NSTLS+"'/>"); err != nil {
		return err
	}
	if conf == nil {
		conf = &tls.Config{ServerName: domain}
	}
	secure := tls.Client(f.conn, conf)
	if err := secure.Handshake(); err != nil {
		return err
	}
	f.conn = secure
	if f.r.Reset(secure) > 0 {
		return errors.New("the server sent something between <proceed/> and TLS")
	}
	return nil
}

// open sends a stream header and returns the features.
func (f *focus) open(domain string) ([]byte, error) {
	header := wire.StreamHeader{To: domain, Version: "1.0", Content: wire.NSClient}.Append(nil, "")
	if err := f.write(header); err != nil {
		return nil, err
	}
	if t, err := f.r.Next(); err != nil || t.Kind != wire.StreamStart {
		return nil, fmt.Errorf("no stream header: %w", err)
	}
	return f.next("stream:features")
}

func (f *focus) ask(name, elem string) ([]byte, error) {
	if err := f.write([]byte(elem)); err != nil {
		return nil, err
	}
	return f.next(name)
}

func (f *focus) next(name string) ([]byte, error) {
	for {
		t, err := f.r.Next()
		if err != nil {
			return nil, err
		}
		h, err := wire.ParseHeader(t.Data)
		switch {
		case err != nil:
			return nil, err
		case string(h.Name) == name && string(h.Type) != "error":
			return t.Data, nil
		case string(h.Name) != "message": // what a server pushes
			return nil, fmt.Errorf("instead of %s came %.300s", name, t.Data)
		}
	}
}

func (f *focus) write(p []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, err := f.conn.Write(p)
	return err
}

// read counts until the stream ends.
func (f *focus) read() {
	defer close(f.done)
	for {
		t, err := f.r.Next()
		if err == nil && t.Kind != wire.Element {
			err = errors.New("the server closed the stream")
		}
		var h wire.Header
		if err == nil {
			h, err = wire.ParseHeader(t.Data)
		}
		if err != nil {
			f.err = fmt.Errorf("focus: %w", err)
			return
		}
		switch string(h.Name) {
		case "presence":
			f.presence(t.Data, &h)
		case "iq":
			f.iq(&h)
		}
	}
}

func (f *focus) presence(b []byte, h *wire.Header) {
	own := bytes.HasSuffix(h.From, []byte("/"+focusNick))
	switch {
	case own && (string(h.Type) == "error" || string(h.Type) == ""):
		f.waitMu.Lock()
		self := f.self
		f.self = nil
		f.waitMu.Unlock()
		if self == nil {
			return
		}
		var err error
		if string(h.Type) == "error" {
			err = fmt.Errorf("refused: %.300s", b)
		}
		self <- err
	case own:
	case string(h.Type) == "unavailable":
		f.visitors.Add(-1)
	case string(h.Type) == "" && (bytes.Contains(b, []byte("role='visitor'")) || bytes.Contains(b, []byte(`role="visitor"`))):
		f.visitors.Add(1)
	}
}

func (f *focus) iq(h *wire.Header) {
	if wire.Answerable(h) {
		// A failed write ends the reader as well.
		_ = f.write(wire.AppendResult(nil, h, "", wire.Unescape(h.From), nil))
		return
	}
	if string(h.Type) == "error" {
		f.errors.Add(1)
	}
	if flight := f.flight.Load(); flight != nil {
		flight.answer(string(h.ID))
	}
	f.waitMu.Lock()
	if answer := f.waiting[string(h.ID)]; answer != nil {
		answer <- string(h.Type)
		delete(f.waiting, string(h.ID))
	}
	f.waitMu.Unlock()
}

const focusNick = "focus"

// createRoom joins the room, reads and submits its form and updates the
// presence, as jicofo does.
func (f *focus) createRoom(ctx context.Context, room string) error {
	self := make(chan error, 1)
	f.waitMu.Lock()
	f.self = self
	f.waitMu.Unlock()
	me := room + "/" + focusNick
	join := wire.NewBuilder(nil).Start("presence", "to", me).Elem("x", "", "xmlns", wire.NSMUC).Bytes()
	if err := f.write(join); err != nil {
		return fmt.Errorf("focus: %w", err)
	}
	select {
	case err := <-self:
		if err != nil {
			return fmt.Errorf("focus: create %s: %w", room, err)
		}
	case <-f.done:
		return f.err
	case <-time.After(focusTime):
		return fmt.Errorf("focus: create %s: no answer", room)
	case <-ctx.Done():
		return ctx.Err()
	}
	form := wire.NewBuilder(nil).Start("query", "xmlns", wire.NSMUCOwner).Start("x", "xmlns", wire.NSForm, "type", "submit")
	form.Start("field", "var", "FORM_TYPE").Elem("value", "http://jabber.org/protocol/muc#roomconfig").End()
	form.Start("field", "var", "muc#roomconfig_whois").Elem("value", "anyone")
	for _, q := range []struct{ kind, payload string }{
		{"get", "<query xmlns='" + wire.NSMUCOwner + "'/>"}, {"set", string(form.Bytes())},
	} {
		if err := f.request(ctx, q.kind, room, q.payload); err != nil {
			return fmt.Errorf("focus: configure %s: %w", room, err)
		}
	}
	p := wire.NewBuilder(nil).Start("presence", "to", me).Start("conference-properties", "xmlns", "http://jitsi.org/protocol/focus")
	return f.write(p.Elem("property", "", "key", "visitors-enabled", "value", "true").Bytes())
}

// request sends an IQ and waits for its result.
func (f *focus) request(ctx context.Context, kind, to, payload string) error {
	answer := make(chan string, 1)
	f.waitMu.Lock()
	id := "ask-" + kind + strconv.Itoa(len(f.waiting))
	f.waiting[id] = answer
	f.waitMu.Unlock()
	b := wire.NewBuilder(nil).Start("iq", "type", kind, "id", id, "to", to).Raw([]byte(payload))
	if err := f.write(b.Bytes()); err != nil {
		return err
	}
	select {
	case t := <-answer:
		if t != "result" {
			return fmt.Errorf("answered with %s", t)
		}
		return nil
	case <-f.done:
		return f.err
	case <-time.After(focusTime):
		return errors.New("no answer")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close ends the stream.
func (f *focus) close() {
	_ = f.write([]byte("</stream:stream>")) // a courtesy
	_ = f.conn.Close()
	<-f.done
}
