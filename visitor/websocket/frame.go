package websocket

import (
	"encoding/binary"
	"fmt"
)

// Opcodes of RFC 6455 §5.2.
const (
	opContinuation = 0x0
	opText         = 0x1
	opBinary       = 0x2
	opClose        = 0x8
	opPing         = 0x9
	opPong         = 0xA
)

const (
	bitFIN  = 0x80
	bitMask = 0x80
	bitsRSV = 0x70

	maxControl = 125 // bytes of payload, RFC 6455 §5.5
)

// StatusCode is the code of a close frame, RFC 6455 §7.4.1.
type StatusCode uint16

// The codes this package sends or knows.
const (
	StatusNormal      StatusCode = 1000
	StatusGoingAway   StatusCode = 1001
	StatusProtocol    StatusCode = 1002
	StatusUnsupported StatusCode = 1003
	// StatusNone stands for a close frame without a code; never sent.
	StatusNone    StatusCode = 1005
	StatusInvalid StatusCode = 1007
)

// allowed reports whether a peer may send the code: RFC 6455 §7.4.1 and the
// registry it founded.
func (c StatusCode) allowed() bool {
	switch {
	case c >= 3000 && c < 5000:
		return true
	case c < 1000 || c > 1014:
		return false
	}
	return c != 1004 && c != 1005 && c != 1006
}

// CloseError is a violation of the protocol by the peer and, by
// [AppendClose], the close frame that says so.
type CloseError struct {
	Code StatusCode
	Text string // for people, at most 123 bytes
}

// Error implements error.
func (e CloseError) Error() string { return fmt.Sprintf("websocket: close %d: %s", e.Code, e.Text) }

// AppendText appends one unfragmented, unmasked text frame.
func AppendText(dst, payload []byte) []byte {
	return append(appendTextHeader(dst, 0, len(payload)), payload...)
}

// AppendClientText appends one unfragmented text frame as a client sends it. The
// mask is zero: what it guards against, proxies between a browser and a server,
// is not between nodes (RFC 6455 §10.3).
func AppendClientText(dst, payload []byte) []byte {
	return append(append(appendTextHeader(dst, bitMask, len(payload)), 0, 0, 0, 0), payload...)
}

func appendTextHeader(dst []byte, mask byte, n int) []byte {
	dst = append(dst, bitFIN|opText)
	switch {
	case n <= 125:
		return append(dst, mask|byte(n))
	case n <= 0xFFFF:
		return binary.BigEndian.AppendUint16(append(dst, mask|126), uint16(n))
	}
	return binary.BigEndian.AppendUint64(append(dst, mask|127), uint64(n))
}

// AppendPong appends the answer to a ping; payload is the ping's.
func AppendPong(dst, payload []byte) []byte {
	return append(append(dst, bitFIN|opPong, byte(len(payload))), payload...)
}

// AppendClose appends a close frame. A text too long for a control frame is
// cut; [StatusNone] gives a frame without code and text.
func AppendClose(dst []byte, code StatusCode, text string) []byte {
	if code == StatusNone {
		return append(dst, bitFIN|opClose, 0)
	}
	text = text[:min(len(text), maxControl-2)]
	dst = append(dst, bitFIN|opClose, byte(2+len(text)))
	dst = binary.BigEndian.AppendUint16(dst, uint16(code))
	return append(dst, text...)
}
