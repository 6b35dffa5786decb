package conference

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"vnode/internal/wire"
)

// errDialback is a key its own server does not confirm.
var errDialback = errors.New("dialback failed")

// dialbackKey is XEP-0185's key for the stream with that id, that originating
// opened to receiving.
func (v *server) dialbackKey(receiving, originating, id string) string {
	mac := hmac.New(sha256.New, v.secret)
	mac.Write([]byte(receiving + " " + originating + " " + id))
	return hex.EncodeToString(mac.Sum(nil))
}

// dialback is the initiating server's part (XEP-0220 §2.1): the peer asks our
// listener about the key, on a stream of its own.
func (h *handshake) dialback() error {
	b := wire.NewBuilder(nil).Start("db:result", "from", h.local, "to", h.remote)
	if err := h.write(string(b.Text(h.self.dialbackKey(h.remote, h.local, h.id)).Bytes())); err != nil {
		return err
	}
	elem, head, err := h.element()
	if err != nil {
		return err
	}
	if string(head.Name) != "db:result" {
		return unexpected(elem, &head, "db:result")
	}
	if string(head.Type) != "valid" {
		return fmt.Errorf("%w: the peer answered %q", errDialback, head.Type)
	}
	return nil
}

// verdict is the authoritative server's part (§2.3), the answer to db:verify:
// is that key ours?
func (v *server) verdict(elem []byte, head *wire.Header) []byte {
	c := wire.Child{Header: *head, Raw: elem}
	from, to, id := wire.Unescape(head.From), wire.Unescape(head.To), wire.Unescape(head.ID)
	verdict := "invalid"
	if v.serves(to) && hmac.Equal([]byte(c.Text()), []byte(v.dialbackKey(from, to, id))) {
		verdict = "valid"
	}
	return wire.NewBuilder(nil).Start("db:verify", "from", to, "to", from, "id", id, "type", verdict).Bytes()
}

// refusePair answers db:result on a stream that has its pair: further pairs on
// one stream (§2.6) are not supported.
func refusePair(head *wire.Header) []byte {
	b := wire.NewBuilder(nil).Start("db:result", "from", wire.Unescape(head.To), "to", wire.Unescape(head.From), "type", "error")
	return b.Raw(wire.StanzaError{Type: "cancel", Condition: "feature-not-implemented"}.Append(nil)).Bytes()
}

// checkResult is the receiving server's part (§2.2): the peer's own listener
// is asked about the key.
func (h *handshake) checkResult(elem []byte, head *wire.Header) error {
	c := wire.Child{Header: *head, Raw: elem}
	from, to := wire.Unescape(head.From), wire.Unescape(head.To)
	if !h.self.trusts(from) || !h.self.serves(to) || h.remote != "" && h.remote != from {
		return wire.StreamError{Condition: wire.InvalidFrom}
	}
	key := c.Text()
	ctx, cancel := context.WithTimeout(context.Background(), h.self.timeout)
	defer cancel()
	err := h.self.verify(ctx, to, from, h.id, key)
	verdict := "valid"
	if err != nil {
		verdict = "invalid"
	}
	answer := wire.NewBuilder(nil).Start("db:result", "from", to, "to", from, "type", verdict).Bytes()
	h.local, h.remote = to, from
	return errors.Join(h.write(string(answer)), err)
}

// verify asks the peer, as authoritative server of remote, about a key.
func (v *server) verify(ctx context.Context, local, remote, id, key string) error {
	h, stop, err := v.connect(ctx, local, remote)
	if err != nil {
		return err
	}
	defer stop()
	defer func() { _ = h.conn.Close() }()
	ask := wire.NewBuilder(nil).Start("db:verify", "from", local, "to", remote, "id", id).Text(key).Bytes()
	if err := h.write(string(ask)); err != nil {
		return err
	}
	elem, head, err := h.element()
	switch {
	case err != nil:
		return err
	case string(head.Name) != "db:verify":
		return unexpected(elem, &head, "db:verify")
	case string(head.Type) != "valid" || wire.Unescape(head.ID) != id:
		return fmt.Errorf("%w: %s of %s", errDialback, head.Type, remote)
	}
	_ = h.write("</stream:stream>")
	return nil
}

func newID() string { return rand.Text() }
