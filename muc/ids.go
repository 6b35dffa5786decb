package muc

import (
	cryptorand "crypto/rand"
	"encoding/base32"
	"fmt"
	"math/rand/v2"
)

// ids makes identifiers that nobody can guess, and that follow from a seed: two
// rooms with the same seed make the same ones.
type ids struct{ from *rand.ChaCha8 }

// newIDs returns one with a seed of its own.
func newIDs() *ids {
	var seed [32]byte
	_, _ = cryptorand.Read(seed[:]) // never fails
	return &ids{rand.NewChaCha8(seed)}
}

// text is for stanzas and the like: 130 random bits.
func (i *ids) text() string {
	var b [17]byte
	_, _ = i.from.Read(b[:]) // never fails
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(b[:])[:26]
}

// uuid is a random UUID, RFC 9562 §5.4.
func (i *ids) uuid() string {
	var u [16]byte
	_, _ = i.from.Read(u[:]) // never fails
	u[6], u[8] = u[6]&0x0F|0x40, u[8]&0x3F|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
