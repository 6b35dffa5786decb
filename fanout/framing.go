package fanout

import "encoding/binary"

// Framing says how an element is delimited on the connection.
type Framing uint8

const (
	// Raw elements follow each other, as in a TCP stream.
	Raw Framing = iota
	// WebSocket puts each element into one unmasked text frame (RFC 6455
	// §5.2; RFC 7395 §3.3.2 asks for one a stanza).
	WebSocket
)

const finText = 0x81 // FIN, opcode text

// appendHeader appends what goes before an element of n bytes.
func (f Framing) appendHeader(dst []byte, n int) []byte {
	if f == Raw {
		return dst
	}
	switch {
	case n < 126:
		return append(dst, finText, byte(n))
	case n <= 0xFFFF:
		return binary.BigEndian.AppendUint16(append(dst, finText, 126), uint16(n))
	default:
		return binary.BigEndian.AppendUint64(append(dst, finText, 127), uint64(n))
	}
}
