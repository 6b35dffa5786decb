package visitorlist

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/coder/websocket"

	"vnode/internal/guard"
	"vnode/internal/visitorlist/stomp"
)

const (
	connectTime = 10 * time.Second // for the login
	writeTime   = 10 * time.Second
	askTime     = 5 * time.Second // for rooms
	tellEvery   = time.Second     // changes, together
	lookEvery   = 5               // of these ticks, for a meeting that has no room
	beatEvery   = 10              // of these ticks: STOMP's heart-beat
	pingEvery   = 25              // of these ticks: WebSocket's, which finds who is gone

	maxSubscriptions = 8
	maxFrames        = 20 // of a client, from tick to tick
)

// connection is one client. A goroutine of its own reads; everything else,
// writing included, is done by the goroutine of its request.
type connection struct {
	// Static after construction.
	srv  *Server
	conn *websocket.Conn
	from netip.Addr // counted under; invalid: not known

	// Owned by the goroutine of the request.
	frame  stomp.Frame // that is handled
	pass   Pass
	topics map[string]*topic // by id of the subscription
	queues map[string]bool   // ids of subscriptions to lists
	count  int               // of messages
}

// topic is a subscription to a meeting's changes.
type topic struct {
	id, destination, meeting string

	room string // "" while the meeting has none
	feed *feed  // nil likewise
	look int    // ticks until it is looked for
}

// refused is an error that the client is told in words.
type refused struct {
	why  refusal
	text string
}

func (r *refused) Error() string { return r.text }

func protocol(format string, args ...any) error {
	return &refused{refusedProtocol, fmt.Sprintf(format, args...)}
}

// errBye ends a connection that the client has ended.
var errBye = errors.New("the client disconnected")

func newConnection(s *Server, conn *websocket.Conn, from netip.Addr) *connection {
	return &connection{srv: s, conn: conn, from: from, topics: make(map[string]*topic), queues: make(map[string]bool)}
}

// serve serves the client until its end, and returns when its goroutines have
// ended.
func (c *connection) serve(ctx context.Context) {
	defer c.detachAll()
	defer c.srv.cfg.Guard.Recover(guard.Connection, c)
	err := c.login(ctx)
	if err != nil {
		c.close(err)
		return
	}
	frames, broken := make(chan stomp.Frame), make(chan error, 1)
	defer func() { // also after a panic
		for range frames {
		}
	}()
	reading, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer close(frames)
		broken <- c.readAll(reading, frames)
	}()
	err = c.run(ctx, frames, broken)
	c.close(err) // it needs the reader for the other side's close frame
}

func (c *connection) detachAll() {
	for _, t := range c.topics {
		c.detach(t)
	}
}

// Doing implements [guard.Met].
func (c *connection) Doing() (string, int) { return c.frame.Command, len(c.frame.Body) }

// Whose implements [guard.Owned].
func (c *connection) Whose() string {
	if !c.from.IsValid() {
		return ""
	}
	return c.from.String()
}

// Panicked implements [guard.Met].
func (c *connection) Panicked() { _ = c.conn.CloseNow() }

// faulty is the connection as its reader's panics see it.
type faulty struct {
	*connection
	err *error
}

// Doing implements [guard.Met]: the frame is not read yet.
func (f *faulty) Doing() (string, int) { return "", 0 }

// Panicked implements [guard.Met].
func (f *faulty) Panicked() {
	*f.err = errFault
	f.connection.Panicked()
}

// errFault is what reading ends with at a panic.
var errFault = errors.New("a fault of the program")

// readAll hands over frames until reading fails or ctx ends.
func (c *connection) readAll(ctx context.Context, frames chan<- stomp.Frame) (err error) {
	defer c.srv.cfg.Guard.Recover(guard.Connection, &faulty{c, &err})
	for {
		f, err := c.next(ctx)
		if err != nil {
			return err
		}
		select {
		case frames <- f:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// run handles what the client says and tells it changes each tick.
func (c *connection) run(ctx context.Context, frames <-chan stomp.Frame, broken <-chan error) error {
	ticker := time.NewTicker(c.srv.every)
	defer ticker.Stop()
	for n, said := 1, 0; ; {
		var err error
		select {
		case <-ctx.Done():
			return ctx.Err()
		case f, ok := <-frames:
			if !ok {
				return <-broken
			}
			if said++; said > maxFrames {
				return protocol("you ask too often")
			}
			c.frame = f
			err = c.handle(ctx, &f)
		case <-ticker.C:
			err = c.tick(ctx, n)
			n, said = n+1, 0
		}
		if err != nil {
			return err
		}
	}
}

// close says why, if the client is still there.
func (c *connection) close(err error) {
	var r *refused
	switch {
	case errors.As(err, &r):
		c.srv.metrics.refused(r.why)
		c.srv.log.Debug("visitor list refused", "reason", string(r.why), "error", r.text)
		f := stomp.Frame{Command: stomp.Error, Headers: []stomp.Header{{Name: "message", Value: r.text}}}
		ctx, cancel := context.WithTimeout(context.Background(), writeTime)
		defer cancel()
		_ = c.conn.Write(ctx, websocket.MessageText, f.Append(nil))
		_ = c.conn.Close(websocket.StatusPolicyViolation, "")
	case errors.Is(err, errBye):
		_ = c.conn.Close(websocket.StatusNormalClosure, "")
	default:
		_ = c.conn.Close(websocket.StatusGoingAway, "")
	}
}

// login takes CONNECT and checks the token.
func (c *connection) login(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTime)
	defer cancel()
	f, err := c.next(ctx)
	if err != nil {
		return err
	}
	if f.Command != stomp.Connect && f.Command != stomp.Stomp {
		return protocol("CONNECT must be first")
	}
	version := ""
	for _, v := range strings.Split(f.Get("accept-version"), ",") {
		if v = strings.TrimSpace(v); v == "1.1" || v == "1.2" {
			version = max(version, v)
		}
	}
	if version == "" {
		return protocol("STOMP 1.1 and 1.2 are supported")
	}
	token, _ := strings.CutPrefix(f.Get("Authorization"), "Bearer ")
	if c.pass, err = c.srv.cfg.Gate.Admit(ctx, strings.TrimSpace(token)); err != nil {
		return &refused{refusedToken, err.Error()}
	}
	beat := strconv.Itoa(int(beatEvery * tellEvery / time.Millisecond))
	return c.send(ctx, &stomp.Frame{Command: stomp.Connected, Headers: []stomp.Header{
		{Name: "version", Value: version}, {Name: "heart-beat", Value: beat + ",0"},
	}})
}

// next reads the next frame. A WebSocket message holds one or more whole ones;
// of several only the first may be there, as clients send them.
func (c *connection) next(ctx context.Context) (stomp.Frame, error) {
	for {
		_, b, err := c.conn.Read(ctx)
		if err != nil {
			return stomp.Frame{}, fmt.Errorf("reading: %w", err)
		}
		f, rest, ok, err := stomp.Parse(b)
		if err != nil {
			return stomp.Frame{}, protocol("%s", err)
		}
		if !ok {
			continue // a heart-beat
		}
		if _, _, more, err := stomp.Parse(rest); more || err != nil {
			return stomp.Frame{}, protocol("one frame in a WebSocket message")
		}
		return f, nil
	}
}

func (c *connection) handle(ctx context.Context, f *stomp.Frame) error {
	err := c.obey(ctx, f)
	if id := f.Get("receipt"); id != "" && (err == nil || errors.Is(err, errBye)) {
		err = errors.Join(err, c.send(ctx, &stomp.Frame{Command: stomp.Receipt, Headers: []stomp.Header{{Name: "receipt-id", Value: id}}}))
	}
	return err
}

func (c *connection) obey(ctx context.Context, f *stomp.Frame) error {
	switch f.Command {
	case stomp.Subscribe:
		return c.subscribe(ctx, f.Get("id"), f.Get("destination"))
	case stomp.Unsubscribe:
		c.unsubscribe(f.Get("id"))
		return nil
	case stomp.Disconnect:
		return errBye
	}
	return protocol("%.32q is not supported", f.Command)
}

// destinations begin so.
const (
	topicPrefix = "/secured/conference/visitors-list/topic/"
	queuePrefix = "/secured/conference/visitors-list/queue/"
)

func (c *connection) subscribe(ctx context.Context, id, destination string) error {
	switch {
	case id == "" || c.topics[id] != nil || c.queues[id]:
		return protocol("a subscription needs an id of its own")
	case len(c.topics)+len(c.queues) >= maxSubscriptions:
		return protocol("too many subscriptions")
	}
	if meeting, ok := strings.CutPrefix(destination, topicPrefix); ok && meeting != "" {
		return c.follow(ctx, &topic{id: id, destination: destination, meeting: meeting})
	}
	if rest, ok := strings.CutPrefix(destination, queuePrefix); ok {
		if meeting, _, ok := strings.Cut(rest, "/"); ok && meeting != "" {
			c.queues[id] = true
			return c.answer(ctx, id, destination, meeting)
		}
	}
	return protocol("there is no such destination")
}

// follow begins to tell of a meeting. Who is here already is not told: the
// client asks for the list next.
func (c *connection) follow(ctx context.Context, t *topic) error {
	if err := c.attach(ctx, t); err != nil {
		return err
	}
	c.topics[t.id] = t
	return nil
}

// attach finds a topic's room and watches it; a meeting without one is looked
// for again later.
func (c *connection) attach(ctx context.Context, t *topic) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	t.look = lookEvery
	room, f, err := c.watch(ctx, t.meeting)
	if errors.Is(err, ErrNoMeeting) {
		return nil
	}
	if err != nil {
		return err
	}
	t.room, t.feed = room, f
	return nil
}

// watch watches a meeting's room if the token allows it.
func (c *connection) watch(ctx context.Context, meeting string) (room string, f *feed, err error) {
	rooms := c.srv.cfg.Rooms
	if room, err = rooms.RoomOfMeeting(ctx, meeting); err != nil {
		return "", nil, err
	}
	if !c.pass(room) {
		return "", nil, &refused{refusedToken, "the token does not allow to see the visitors of this meeting"}
	}
	f = newFeed()
	list, err := rooms.Watch(ctx, room, f)
	if err != nil {
		rooms.Unwatch(room, f) // it may begin later than we waited
		return "", nil, err
	}
	f.start(list)
	return room, f, nil
}

func (c *connection) detach(t *topic) {
	if t.feed != nil {
		c.srv.cfg.Rooms.Unwatch(t.room, t.feed)
		t.room, t.feed = "", nil
	}
}

// answer sends the list of a meeting. If the client follows it, what comes on
// the topic from then on is relative to the list.
func (c *connection) answer(ctx context.Context, id, destination, meeting string) error {
	var list []change
	if f := c.feedOf(meeting); f != nil {
		list = f.list()
	} else {
		var err error
		if list, err = c.glance(ctx, meeting); err != nil {
			return err
		}
	}
	return c.message(ctx, id, destination, list)
}

// glance returns who is here, and watches no longer than that takes: a client
// may take its time to read the list.
func (c *connection) glance(ctx context.Context, meeting string) ([]change, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	room, f, err := c.watch(ctx, meeting)
	if errors.Is(err, ErrNoMeeting) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c.srv.cfg.Rooms.Unwatch(room, f)
	return f.list(), nil
}

// feedOf returns the feed of a meeting that is followed, or nil.
func (c *connection) feedOf(meeting string) *feed {
	for _, t := range c.topics {
		if t.meeting == meeting {
			return t.feed
		}
	}
	return nil
}

func (c *connection) unsubscribe(id string) {
	delete(c.queues, id)
	if t := c.topics[id]; t != nil {
		c.detach(t)
		delete(c.topics, id)
	}
}

// tick tells changes, and now and then that we are here.
func (c *connection) tick(ctx context.Context, n int) error {
	for _, t := range c.topics {
		if err := c.tellTopic(ctx, t); err != nil {
			return err
		}
	}
	if n%beatEvery == 0 {
		if err := c.write(ctx, []byte("\n")); err != nil {
			return err
		}
	}
	if n%pingEvery == 0 {
		return c.ping(ctx)
	}
	return nil
}

func (c *connection) ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	return c.conn.Ping(ctx)
}

// tellTopic tells what is new of one meeting.
func (c *connection) tellTopic(ctx context.Context, t *topic) error {
	if t.feed == nil {
		if t.look--; t.look > 0 {
			return nil
		}
		if err := c.attach(ctx, t); err != nil || t.feed == nil {
			return err
		}
		news := t.feed.list()
		for i := range news {
			news[i].State = joined
		}
		return c.news(ctx, t, news)
	}
	news, ended, ok := t.feed.take()
	if !ok {
		return &refused{refusedSlow, "the list changes faster than you read it"}
	}
	if ended {
		c.detach(t)
		t.look = lookEvery
	}
	return c.news(ctx, t, news)
}

func (c *connection) news(ctx context.Context, t *topic, news []change) error {
	if len(news) == 0 {
		return nil
	}
	return c.message(ctx, t.id, t.destination, news)
}

// message sends a MESSAGE.
func (c *connection) message(ctx context.Context, id, destination string, list []change) error {
	if list == nil {
		list = []change{}
	}
	c.count++
	return c.send(ctx, &stomp.Frame{Command: stomp.Message, Body: encode(list), Headers: []stomp.Header{
		{Name: "subscription", Value: id}, {Name: "message-id", Value: strconv.Itoa(c.count)},
		{Name: "destination", Value: destination}, {Name: "content-type", Value: "application/json"},
	}})
}

func (c *connection) send(ctx context.Context, f *stomp.Frame) error {
	return c.write(ctx, f.Append(nil))
}

func (c *connection) write(ctx context.Context, b []byte) error {
	ctx, cancel := context.WithTimeout(ctx, writeTime)
	defer cancel()
	if err := c.conn.Write(ctx, websocket.MessageText, b); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}
