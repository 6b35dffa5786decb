package websocket

import (
	"crypto/sha1"
	"encoding/base64"
)

// acceptGUID is what a key is hashed with, RFC 6455 §1.3.
const acceptGUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

// AppendAccept appends the answer that opens a WebSocket with [Subprotocol] and
// without extensions (RFC 6455 §4.2.2); key is the client's, as it came.
func AppendAccept(dst, key []byte) []byte {
	dst = append(dst, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Protocol: "+Subprotocol+"\r\nSec-WebSocket-Accept: "...)
	var buf [64]byte
	sum := sha1.Sum(append(append(buf[:0], key...), acceptGUID...))
	dst = base64.StdEncoding.AppendEncode(dst, sum[:])
	return append(dst, "\r\n\r\n"...)
}
