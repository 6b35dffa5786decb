package room

import (
	"encoding/base32"
	"fmt"
	"math/rand/v2"
)

// identifiers makes identifiers that nobody can guess, and that follow from a seed: two
// rooms with the same seed make the same ones.
type identifiers struct{ from *rand.ChaCha8 }

func newIdentifiers(seed [32]byte) identifiers { return identifiers{rand.NewChaCha8(seed)} }

// bytes returns n random bytes.
func (i identifiers) bytes(n int) []byte {
	b := make([]byte, n)
	_, _ = i.from.Read(b) // never fails
	return b
}

// text is for stanzas and the like: 130 random bits.
func (i identifiers) text() string {
	return base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(i.bytes(17))[:26]
}

// uuid is a random UUID, RFC 9562 §5.4.
func (i identifiers) uuid() string {
	u := i.bytes(16)
	u[6], u[8] = u[6]&0x0F|0x40, u[8]&0x3F|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[:4], u[4:6], u[6:8], u[8:10], u[10:])
}
