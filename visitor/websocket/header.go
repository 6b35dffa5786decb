package websocket

import (
	"encoding/binary"
	"math"
)

// header is a client's frame header, RFC 6455 §5.2.
type header struct {
	fin    bool
	opcode byte
	length int
	mask   [4]byte
}

func (h *header) control() bool { return h.opcode&0x8 != 0 }

// parseHeader reads the header at the start of b and returns its length, 0
// when more bytes are needed. What is wrong with the first two bytes is said
// without waiting for the rest.
func parseHeader(b []byte) (header, int, error) {
	if len(b) < 2 {
		return header{}, 0, nil
	}
	h := header{fin: b[0]&bitFIN != 0, opcode: b[0] & 0x0F}
	if err := h.check(b[0], b[1]); err != nil {
		return h, 0, err
	}
	n := 2
	switch short := int(b[1] &^ bitMask); short {
	case 126:
		n += 2
	case 127:
		n += 8
	default:
		h.length = short
	}
	if len(b) < n+4 {
		return h, 0, nil
	}
	if err := h.extended(b[2:n]); err != nil {
		return h, 0, err
	}
	copy(h.mask[:], b[n:])
	return h, n + 4, nil
}

func (h *header) check(b0, b1 byte) error {
	switch {
	case b0&bitsRSV != 0:
		return CloseError{StatusProtocol, "reserved bit set"}
	case h.opcode > opBinary && h.opcode < opClose || h.opcode > opPong:
		return CloseError{StatusProtocol, "reserved opcode"}
	case b1&bitMask == 0:
		return CloseError{StatusProtocol, "client frames must be masked"}
	case h.control() && !h.fin:
		return CloseError{StatusProtocol, "fragmented control frame"}
	case h.control() && b1&^bitMask > maxControl:
		return CloseError{StatusProtocol, "control frame too long"}
	}
	return nil
}

// extended reads the extended payload length. It must be the shortest form
// (RFC 6455 §5.2).
func (h *header) extended(b []byte) error {
	var n uint64
	switch len(b) {
	case 0:
		return nil
	case 2:
		n = uint64(binary.BigEndian.Uint16(b))
		if n < 126 {
			return CloseError{StatusProtocol, "length not in its shortest form"}
		}
	default:
		n = binary.BigEndian.Uint64(b)
		if n <= math.MaxUint16 {
			return CloseError{StatusProtocol, "length not in its shortest form"}
		}
		if n > math.MaxInt64 {
			return CloseError{StatusProtocol, "length too large"}
		}
		n = min(n, math.MaxInt)
	}
	h.length = int(n)
	return nil
}
