package visitor

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"sync"
)

// users gives anonymous visitors their names: random UUIDs (RFC 9562 §5.4)
// whose first 8 digits nobody else has at the time. The web client makes them
// its nick and endpoint id, where a second one would be a conflict.
type users struct {
	mu    sync.Mutex
	taken map[uint32]struct{} // guarded by mu
}

func newUsers() *users { return &users{taken: make(map[uint32]struct{})} }

// take returns a new name, to be released when its owner is gone.
func (u *users) take() string {
	var id [16]byte
	u.mu.Lock()
	defer u.mu.Unlock()
	for {
		_, _ = rand.Read(id[:]) // never fails
		key := binary.BigEndian.Uint32(id[:])
		if _, taken := u.taken[key]; !taken {
			u.taken[key] = struct{}{}
			break
		}
	}
	id[6] = id[6]&0x0F | 0x40 // version 4
	id[8] = id[8]&0x3F | 0x80 // variant
	var s [36]byte
	hex.Encode(s[:8], id[:4])
	s[8] = '-'
	hex.Encode(s[9:13], id[4:6])
	s[13] = '-'
	hex.Encode(s[14:18], id[6:8])
	s[18] = '-'
	hex.Encode(s[19:23], id[8:10])
	s[23] = '-'
	hex.Encode(s[24:], id[10:])
	return string(s[:])
}

// release frees a name take returned.
func (u *users) release(name string) {
	var key [4]byte
	if _, err := hex.Decode(key[:], []byte(name[:8])); err != nil {
		return
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.taken, binary.BigEndian.Uint32(key[:]))
}
