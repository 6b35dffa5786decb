package conference

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strconv"

	"vnode/internal/wire"
)

// Stream management, XEP-0198, on the client's side: acknowledgements in both
// directions and the resumption of a session whose connection was lost.

var (
	errNoAcks = errors.New("stream management is not offered")

	// errNotResumable is a session that ends with its connection.
	errNotResumable = errors.New("the server has given the session no id to be resumed by")
	// errAway is a connection that cannot be cut because it is already.
	errAway = errors.New("the connection is cut already")
	// errRefused is a <failed/> in answer to <resume/>: lib-jitsi-meet makes
	// its user reload the page then.
	errRefused = errors.New("the server refused to resume the session")
)

// resumableID is what of an id survives lib-jitsi-meet's editing of the URL.
var resumableID = regexp.MustCompile(`^[\w-]+$`)

// ackEvery is after how many stanzas lib-jitsi-meet asks for an ack.
const ackEvery = 5

var ackRequest = []byte("<r xmlns='" + wire.NSSM + "'/>")

// enableAcks turns stream management on, to be resumed if the server can.
func (c *client) enableAcks() error {
	enabled, err := c.ask("enabled", "<enable xmlns='"+wire.NSSM+"' resume='true'/>")
	if err != nil {
		return err
	}
	h, err := wire.ParseHeader(enabled)
	if err != nil {
		return err
	}
	c.acks = true
	if r := h.Attr("resume"); r != "true" && r != "1" {
		return nil
	}
	if c.id = h.Attr("id"); !resumableID.MatchString(c.id) {
		return fmt.Errorf("the session's id %q is one lib-jitsi-meet cannot resume", c.id)
	}
	return nil
}

// count is the h of what we say: the stanzas handled.
func (c *client) count() string { return strconv.FormatUint(uint64(c.handled), 10) }

// takeAck takes what the server claims to have handled: going back or beyond
// what was sent makes lib-jitsi-meet drop the session.
func (c *client) takeAck(text string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.takeAckLocked(text)
}

func (c *client) takeAckLocked(text string) error {
	n, err := strconv.ParseUint(text, 10, 32)
	h := uint32(n)
	more := h - c.acked
	if err != nil || more > c.sent-c.acked {
		return fmt.Errorf("the server acknowledged %q stanzas, %d before, of %d sent", text, c.acked, c.sent)
	}
	c.acked = h
	if c.id != "" {
		c.unacked = slices.Delete(c.unacked, 0, int(more))
	}
	return nil
}

// send sends one stanza, which is kept, and <r/> when it is time. During an
// outage the stanza waits for the resumption.
func (c *client) send(elem []byte) error {
	c.mu.Lock()
	c.sent++
	if c.id != "" {
		c.unacked = append(c.unacked, elem)
	}
	if !c.away {
		c.queue = append(c.queue, elem)
		if c.acks && c.sent%ackEvery == 0 {
			c.queue = append(c.queue, ackRequest)
		}
	}
	c.mu.Unlock()
	return c.flush()
}

// flush writes the queue, unless another goroutine does: that one goes on until
// nothing is left. Stanzas leave in the order they were counted in.
func (c *client) flush() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.writing {
		return nil
	}
	c.writing = true
	defer func() { c.writing = false }()
	for len(c.queue) > 0 {
		ws, elem := c.ws, c.queue[0]
		c.queue = c.queue[1:]
		c.mu.Unlock()
		err := ws.cause(ws.write(elem))
		c.mu.Lock()
		if err != nil && !errors.Is(err, errCut) {
			return err
		}
	}
	return nil
}

// cut breaks the connection; next then returns errCut and resume is to be
// called. Half-open, the server is left with the old connection until then.
func (c *client) cut(halfOpen bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.id == "":
		return errNotResumable
	case c.away:
		return errAway
	}
	c.away, c.queue = true, nil
	c.ws.lose(halfOpen)
	return nil
}

func (c *client) isAway() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.away
}

// close ends the connection, and the next one of a resumption under way.
func (c *client) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.ws.close()
}

// resume goes on with the session on a new connection, as lib-jitsi-meet does:
// the old session's id is in the URL already, and <resume/> takes the place of
// bind. It is called by the reading goroutine and blocks until ctx ends at the
// latest.
func (c *client) resume(ctx context.Context, o loginOptions) error {
	var err error
	if o.URL, err = withPrevid(o.URL, c.id); err != nil {
		return err
	}
	var handled string
	fresh, err := connect(ctx, o, func(n *client) (err error) {
		handled, err = n.askToResume(c.id, c.count())
		return err
	})
	if err != nil {
		return fmt.Errorf("resume the session: %w", err)
	}
	if err := c.replace(fresh.ws, handled); err != nil {
		fresh.ws.close()
		return fmt.Errorf("resume the session: %w", err)
	}
	return c.flush()
}

func withPrevid(address, id string) (string, error) {
	u, err := url.Parse(address)
	if err != nil {
		return "", fmt.Errorf("WebSocket address: %w", err)
	}
	q := u.Query()
	q.Set("previd", id)
	u.RawQuery = q.Encode()
	return u.String(), nil
}

// askToResume returns the server's count of the session's stanzas.
func (c *client) askToResume(id, handled string) (string, error) {
	features, err := c.authenticate()
	if err != nil {
		return "", err
	}
	if !features.acks {
		return "", errNoAcks
	}
	request := wire.NewBuilder(nil).Elem("resume", "", "xmlns", wire.NSSM, "previd", id, "h", handled).Bytes()
	if err := c.ws.write(request); err != nil {
		return "", err
	}
	answer, err := c.ws.read()
	if err != nil {
		return "", err
	}
	h, err := wire.ParseHeader(answer)
	if err != nil {
		return "", err
	}
	switch string(h.Name) {
	case "resumed":
		if h.Attr("previd") != id {
			return "", fmt.Errorf("another session was resumed than %s: %s", id, answer)
		}
		return h.Attr("h"), nil
	case "failed":
		why, _ := wire.FirstChild(answer)
		return "", fmt.Errorf("%w: %s", errRefused, why.Local)
	}
	return "", unexpected(answer, &h, "resumed")
}

// replace goes on over ws. What the server has not handled is sent again, in
// its old order and before anything else.
func (c *client) replace(ws *wsConn, handled string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	if err := c.takeAckLocked(handled); err != nil {
		return err
	}
	c.ws.close()
	c.ws, c.away = ws, false
	c.queue = slices.Clone(c.unacked)
	if len(c.queue) > 0 {
		c.queue = append(c.queue, ackRequest)
	}
	return nil
}
