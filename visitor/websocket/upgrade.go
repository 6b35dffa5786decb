package websocket

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/gobwas/ws"
)

// Subprotocol is the one RFC 7395 §3.1 registers.
const Subprotocol = "xmpp"

// ErrSubprotocol is returned by [Upgrade] for a client that does not ask for
// the subprotocol xmpp.
var ErrSubprotocol = errors.New("websocket: subprotocol xmpp not offered")

const handshakeWriteTimeout = 5 * time.Second

// IsUpgrade reports whether r asks for a WebSocket rather than a page.
func IsUpgrade(r *http.Request) bool {
	return hasToken(r.Header.Values("Connection"), "upgrade") && hasToken(r.Header.Values("Upgrade"), "websocket")
}

// Upgrade answers the handshake of r (RFC 6455 §4.2.2). No extension is
// negotiated: compression would cost CPU for every recipient.
//
// It returns the connection, which is the caller's from then on, without
// deadlines, and the bytes the client has already sent behind the handshake.
// On an error the HTTP answer has been given and the connection is dealt with:
// 501 for [ErrSubprotocol], else what RFC 6455 §4.2 asks for.
func Upgrade(w http.ResponseWriter, r *http.Request) (net.Conn, []byte, error) {
	if !offers(r, Subprotocol) {
		http.Error(w, "This is an XMPP endpoint: the WebSocket subprotocol must be xmpp (RFC 7395).",
			http.StatusNotImplemented)
		return nil, nil, ErrSubprotocol
	}
	u := ws.HTTPUpgrader{
		Timeout:  handshakeWriteTimeout,
		Protocol: func(name string) bool { return name == Subprotocol },
	}
	conn, rw, _, err := u.Upgrade(r, w)
	if err != nil {
		if conn != nil {
			conn.Close()
		}
		return nil, nil, fmt.Errorf("websocket: handshake: %w", err)
	}
	// The buffers of net/http are 8 KB a connection: what is in them is
	// copied, so that they can go.
	early, _ := rw.Reader.Peek(rw.Reader.Buffered())
	return conn, bytes.Clone(early), nil
}

// offers reports whether the client lists the subprotocol. Names are compared
// with their case (RFC 6455 §11.3.4).
func offers(r *http.Request, name string) bool {
	for _, v := range r.Header.Values("Sec-WebSocket-Protocol") {
		for t := range strings.SplitSeq(v, ",") {
			if strings.TrimSpace(t) == name {
				return true
			}
		}
	}
	return false
}

func hasToken(values []string, token string) bool {
	for _, v := range values {
		for t := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}
