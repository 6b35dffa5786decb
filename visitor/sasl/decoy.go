package sasl

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
)

// decoy makes accounts up for users that do not exist. The exchange goes
// through the motions with them, so that neither its course nor its time tells
// a guesser which users there are. The same user always gets the same salt.
type decoy struct{ key []byte }

func newDecoy() decoy {
	d := decoy{make([]byte, sha256.Size)}
	_, _ = rand.Read(d.key)
	return d
}

func (d decoy) account(user string) Account {
	keys := func(name string, size int) Keys {
		return Keys{
			Salt: d.bytes(name+" salt", user)[:saltSize], Iterations: iterations,
			StoredKey: d.bytes(name+" stored", user)[:size], ServerKey: d.bytes(name+" server", user)[:size],
		}
	}
	return Account{SHA1: keys("sha-1", 20), SHA256: keys("sha-256", 32)}
}

func (d decoy) bytes(purpose, user string) []byte {
	h := hmac.New(sha256.New, d.key)
	h.Write([]byte(purpose + "\x00" + user))
	return h.Sum(nil)
}
