package conference

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"time"

	"vnode/internal/wire"
)

// occupant is one anonymous WebSocket client in one room: a visitor of the
// node or a participant of main. Its goroutine is [occupant.run].
type occupant struct {
	// Static after construction.
	login    loginOptions
	room     string // bare JID
	number   int
	timeout  time.Duration // of the join, and of the end
	presence func(b *wire.Builder, nick string)
	joins    *recorder // nil: not measured
	delivery *recorder // nil: not measured
	outages  *outages  // nil: the connection is never cut
	visitor  bool      // must not see other visitors

	joined chan struct{} // closed when the join is complete
	done   chan struct{} // closed when the occupant has ended

	mu sync.Mutex
	// Guarded by mu. client is set before joined is closed and never changes.
	client  *client
	nick    string
	tracker *Tracker
	source  *Source // once the occupant has published something
	leaving bool
	end     End
}

// End is how an occupant's stay ended.
type End struct {
	Left      bool   // it left and was told so
	Destroyed bool   // the room was destroyed
	Reason    string // as the room gave it
	Err       error  // neither: what broke
}

// errGone is returned to whoever wants to speak through an occupant that has
// ended.
var errGone = errors.New("the occupant is not in the room any more")

// run logs in, joins and listens until the end. It blocks until then; the end
// of ctx ends it at once.
func (o *occupant) run(ctx context.Context) {
	err := o.stay(ctx)
	o.mu.Lock()
	if !o.end.Left && !o.end.Destroyed {
		if err == nil {
			err = errStreamClosed
		}
		o.end.Err = err
	} else if isBroken(err) {
		o.end.Err = fmt.Errorf("after leaving the room: %w", err)
	}
	o.mu.Unlock()
	close(o.done)
}

// isBroken reports whether err is not an orderly end of a stream.
func isBroken(err error) bool {
	var c *closeError
	if errors.As(err, &c) {
		return c.Code != closeNormal
	}
	return err != nil && !errors.Is(err, errStreamClosed)
}

func (o *occupant) stay(ctx context.Context) error {
	begin := time.Now()
	loginCtx, cancel := context.WithTimeout(ctx, o.timeout)
	c, err := login(loginCtx, o.login)
	cancel()
	if err != nil {
		return err
	}
	defer c.close()
	defer context.AfterFunc(ctx, c.close)()
	o.mu.Lock()
	o.client, o.nick = c, c.nick()
	o.mu.Unlock()

	c.ws.readUntil(begin.Add(o.timeout))
	if err := c.send(o.joinPresence()); err != nil {
		return err
	}
	err = o.listen(c, begin)
	for errors.Is(err, errCut) && ctx.Err() == nil {
		if err = o.comeBack(ctx, c); err == nil {
			err = o.listen(c, begin)
		}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errStreamClosed):
		c.ws.readUntil(time.Now().Add(o.timeout))
		return finish(c)
	}
	return err
}

func (o *occupant) joinPresence() []byte {
	b := wire.NewBuilder(nil).Start("presence", "xmlns", wire.NSClient, "to", o.room+"/"+o.nick)
	o.presence(b, o.nick)
	return b.Bytes()
}

// finish answers the server's <close/> and waits for the end of the socket,
// however that looks: a server that was faster has reset it by now. Only one
// that leaves it open is at fault.
func finish(c *client) error {
	err := c.ws.writeClose()
	for err == nil {
		_, err = c.ws.read()
	}
	if errors.Is(c.ws.cause(err), os.ErrDeadlineExceeded) {
		return fmt.Errorf("the server has not closed the connection: %w", err)
	}
	return nil
}

// listen handles stanzas until the stream ends.
func (o *occupant) listen(c *client, begin time.Time) error {
	for {
		s, err := c.next()
		if err != nil {
			return err
		}
		now := Now()
		from := wire.Unescape(s.From)
		nick, inRoom := strings.CutPrefix(from, o.room)
		if !inRoom || nick != "" && nick[0] != '/' {
			continue // the server itself, components
		}
		nick = strings.TrimPrefix(nick, "/")
		if wire.Unescape(s.To) != c.jid {
			o.count(func(t *Tally) { t.Misaddressed++ })
			continue
		}
		switch string(s.Name) {
		case "message":
			o.message(&s, nick, now)
		case "presence":
			if nick != o.nick {
				o.others(&s, nick, now)
				continue
			}
			if err := o.self(c, &s, begin, now); err != nil {
				return err
			}
		}
	}
}

func (o *occupant) count(f func(*Tally)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f(&o.tracker.tally)
}

func (o *occupant) message(s *stanza, nick string, now int64) {
	if string(s.Type) == "error" {
		o.count(func(t *Tally) { t.Errors++ })
		return
	}
	st, ok := ParseStamp(s.raw)
	if !ok {
		return // subject, polls, metadata
	}
	// A server may mark what it held back during an outage, in its user's name
	// (XEP-0203); that is no history.
	if d, old := wire.FindChild(s.raw, wire.NSDelay, "delay"); old && d.Attr("from") != wire.Unescape(s.To) {
		o.count(func(t *Tally) { t.History++ })
		return
	}
	o.got(st, nick, now)
}

// others takes the presence of somebody else.
func (o *occupant) others(s *stanza, nick string, now int64) {
	switch string(s.Type) {
	case "unavailable":
		o.mu.Lock()
		known := o.tracker.Gone(nick)
		if !known && o.visitor {
			o.tracker.tally.Unexpected++
		}
		o.mu.Unlock()
		return
	case "error":
		o.count(func(t *Tally) { t.Errors++ })
		return
	}
	if st, ok := ParseStamp(s.raw); ok {
		o.got(st, nick, now)
		return
	}
	if o.visitor && parseMUC(s.raw).role == "visitor" {
		o.count(func(t *Tally) { t.Unexpected++ })
	}
}

func (o *occupant) got(st Stamp, nick string, now int64) {
	o.mu.Lock()
	live := o.tracker.Got(st, nick)
	o.mu.Unlock()
	if live && o.delivery != nil {
		o.delivery.record(o.number, time.Duration(now-st.At))
	}
}

// self takes the occupant's own presence: the join, its refusal, the end.
func (o *occupant) self(c *client, s *stanza, begin time.Time, now int64) error {
	x := parseMUC(s.raw)
	switch string(s.Type) {
	case "error":
		return fmt.Errorf("join refused: %s", errorOf(s.raw))
	case "unavailable":
		return o.out(c, x)
	}
	if st, ok := ParseStamp(s.raw); ok {
		o.got(st, o.nick, now)
	}
	if !x.self || o.isJoined() {
		return nil
	}
	c.ws.readUntil(time.Time{})
	o.mu.Lock()
	o.tracker.Joined(now)
	o.mu.Unlock()
	if o.joins != nil {
		o.joins.record(o.number, time.Since(begin))
	}
	close(o.joined)
	return nil
}

// out is the end of the stay; the stream is closed politely.
func (o *occupant) out(c *client, x mucUser) error {
	o.mu.Lock()
	switch {
	case x.destroyed:
		o.end.Destroyed, o.end.Reason = true, x.reason
	case x.self && o.leaving:
		o.end.Left = true
	default:
		o.mu.Unlock()
		return errors.New("removed from the room")
	}
	o.mu.Unlock()
	return o.endStream(c)
}

func (o *occupant) endStream(c *client) error {
	c.ws.readUntil(time.Now().Add(o.timeout))
	return c.endStream()
}

func (o *occupant) isJoined() bool {
	select {
	case <-o.joined:
		return true
	default:
		return false
	}
}

// waitJoined blocks until the join is complete, the occupant has ended, or ctx
// has.
func (o *occupant) waitJoined(ctx context.Context) error {
	select {
	case <-o.joined:
		return nil
	case <-o.done:
		if o.isJoined() {
			return nil
		}
		return o.ending().Err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (o *occupant) ending() End {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.end
}

// speaker returns what is needed to publish: the stream, and the source, made
// at the first call.
func (o *occupant) speaker(l *Ledger, role Role) (*client, *Source, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.client == nil || o.leaving || o.end != (End{}) {
		return nil, nil, errGone
	}
	if o.source == nil {
		o.source = l.Add(role, o.nick)
		if o.client.isAway() {
			o.source.waits()
		}
	}
	return o.client, o.source, nil
}

// chat sends a stamped line to the room.
func (o *occupant) chat(l *Ledger, role Role, name string, due int64, size int) error {
	c, src, err := o.speaker(l, role)
	if err != nil {
		return err
	}
	return c.send(ChatLine(src, o.room, name, due, size))
}

// leave says unavailable and waits until the stay has ended or ctx has.
func (o *occupant) leave(ctx context.Context) error {
	o.mu.Lock()
	c := o.client
	ended := c == nil || o.end != (End{})
	o.leaving = true
	o.tracker.Left()
	if !ended && o.source != nil {
		o.source.Leave()
	}
	o.mu.Unlock()
	if !ended {
		p := wire.NewBuilder(nil).Start("presence", "xmlns", wire.NSClient, "type", "unavailable", "to", o.room+"/"+o.nick).Bytes()
		// It may have ended meanwhile; then how it ended counts.
		if err := c.send(p); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
	}
	select {
	case <-o.done:
		return o.ending().Err
	case <-ctx.Done():
		return ctx.Err()
	}
}
