package fanout

// unacked is what a resumable session has sent and the client has not
// acknowledged, oldest first: pointers to messages the rooms hold anyway for
// the most part. It is owned by the shard.
type unacked struct {
	ring  []*Message // its length is a power of two
	first uint32     // number of the oldest, modulo 2^32, counting from 0
	count uint32
}

const minUnacked = 16

func (u *unacked) push(m *Message) {
	if int(u.count) == len(u.ring) {
		u.grow()
	}
	u.ring[(u.first+u.count)&uint32(len(u.ring)-1)] = m
	u.count++
}

func (u *unacked) grow() {
	next := make([]*Message, max(minUnacked, 2*len(u.ring)))
	for i := range u.count {
		next[(u.first+i)&uint32(len(next)-1)] = u.at(i)
	}
	u.ring = next
}

// at returns the i-th oldest.
func (u *unacked) at(i uint32) *Message {
	return u.ring[(u.first+i)&uint32(len(u.ring)-1)]
}

// trim forgets all before number h.
func (u *unacked) trim(h uint32) {
	for u.count > 0 && u.first != h {
		u.ring[u.first&uint32(len(u.ring)-1)] = nil
		u.first++
		u.count--
	}
	u.first = h
	if u.count == 0 && len(u.ring) > minUnacked {
		u.ring = nil // a burst's ring is not kept
	}
}
