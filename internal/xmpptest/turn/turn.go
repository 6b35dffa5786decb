// Package turn is a TURN server that relays nothing: it answers binding requests
// and checks the credentials of allocations (RFC 8489 §9.2, with a time-limited
// user name and a shared secret), to test who makes them.
package turn

import (
	"bytes"
	"crypto/hmac"
	"crypto/md5"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"sync"
	"time"
)

// Server answers on a UDP port of loopback.
type Server struct {
	// Static after construction.
	conn   *net.UDPConn
	secret string
	done   sync.WaitGroup
}

const realm, nonce = "turn.example", "n0nce"

// Start listens and answers until Close, which the caller calls.
func Start(secret string) (*Server, error) {
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
	if err != nil {
		return nil, err
	}
	s := &Server{conn: conn, secret: secret}
	s.done.Go(s.serve)
	return s, nil
}

// Addr is where it answers.
func (s *Server) Addr() netip.AddrPort { return s.conn.LocalAddr().(*net.UDPAddr).AddrPort() }

// Close ends the server.
func (s *Server) Close() error {
	err := s.conn.Close()
	s.done.Wait()
	return err
}

func (s *Server) serve() {
	b := make([]byte, 2048)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(b)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err == nil && n >= 20 {
			// A client that is gone is no error.
			_, _ = s.conn.WriteToUDPAddrPort(s.answer(slices.Clone(b[:n])), from)
		}
	}
}

func (s *Server) answer(request []byte) []byte {
	kind := binary.BigEndian.Uint16(request)
	if kind == 0x0003 { // allocate
		if code := s.refuse(request); code != 0 {
			reply := header(kind|0x0110, request)
			reply = add(reply, 0x0009, []byte{0, 0, byte(code / 100), byte(code % 100)})
			reply = add(reply, 0x0014, []byte(realm))
			return add(reply, 0x0015, []byte(nonce))
		}
	}
	return header(kind|0x0100, request)
}

// refuse returns an error code, or 0 for good credentials.
func (s *Server) refuse(request []byte) int {
	var user string
	for at := 20; at+4 <= len(request); {
		kind, n := binary.BigEndian.Uint16(request[at:]), int(binary.BigEndian.Uint16(request[at+2:]))
		if at+4+n > len(request) {
			return 400
		}
		value := request[at+4 : at+4+n]
		switch kind {
		case 0x0006:
			user = string(value)
		case 0x0008:
			if s.integrity(request[:at], user, value) {
				return 0
			}
			return 401
		}
		at += 4 + (n+3)/4*4
	}
	return 401
}

func (s *Server) integrity(before []byte, user string, got []byte) bool {
	until, err := strconv.ParseInt(user, 10, 64)
	if err != nil || time.Now().Unix() > until {
		return false
	}
	mac := hmac.New(sha1.New, []byte(s.secret))
	mac.Write([]byte(user))
	key := md5.Sum([]byte(user + ":" + realm + ":" + base64.StdEncoding.EncodeToString(mac.Sum(nil))))
	signed := bytes.Clone(before)
	binary.BigEndian.PutUint16(signed[2:], uint16(len(before)-20+24))
	mac = hmac.New(sha1.New, key[:])
	mac.Write(signed)
	return hmac.Equal(mac.Sum(nil), got)
}

func header(kind uint16, request []byte) []byte {
	b := bytes.Clone(request[:20])
	binary.BigEndian.PutUint16(b, kind)
	binary.BigEndian.PutUint16(b[2:], 0)
	return b
}

func add(b []byte, kind uint16, value []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, kind)
	b = binary.BigEndian.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)-20))
	return b
}
