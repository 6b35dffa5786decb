package sasl

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"

	"github.com/xdg-go/scram"
)

// Accounts holds the users of a domain. Its methods are called by many
// goroutines at once and must not block.
type Accounts interface {
	// Account returns the account of the user with that normalised
	// localpart.
	Account(user string) (Account, bool)
}

// Account is one user's: not the password, only what verifies it.
type Account struct {
	// Admin is the role of the focus: it may send larger stanzas, as fast
	// as it likes, and rooms treat it as their owner.
	Admin bool
	SHA1  Keys // for SCRAM-SHA-1
	// SHA256 is for SCRAM-SHA-256 and PLAIN.
	SHA256 Keys
}

// Keys verify a password (RFC 5802 §3). They must come from the same number of
// iterations and a salt as long as [NewAccount]'s, or an unknown user could be
// told from a known one.
type Keys struct {
	Salt                 []byte
	Iterations           int
	StoredKey, ServerKey []byte
}

// iterations is what Prosody uses; RFC 7677 §4 asks for 4096 at least.
const iterations = 10_000

const saltSize = 16

// NewAccount derives the keys of a password with fresh salts. It takes some
// milliseconds. The error is that of a password SASLprep refuses (RFC 4013).
func NewAccount(user, password string, admin bool) (Account, error) {
	a := Account{Admin: admin}
	var err error
	if a.SHA1, err = newKeys(scram.SHA1, user, password); err != nil {
		return Account{}, err
	}
	a.SHA256, err = newKeys(scram.SHA256, user, password)
	return a, err
}

func newKeys(hash scram.HashGeneratorFcn, user, password string) (Keys, error) {
	salt := make([]byte, saltSize)
	_, _ = rand.Read(salt) // never fails
	return deriveKeys(hash, user, password, salt, iterations)
}

func deriveKeys(hash scram.HashGeneratorFcn, user, password string, salt []byte, iterations int) (Keys, error) {
	c, err := hash.NewClient(user, password, "")
	if err != nil {
		// Its text may hold the password.
		return Keys{}, fmt.Errorf("account %q: password is not acceptable to SASLprep", user)
	}
	sc, err := c.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: iterations})
	if err != nil {
		return Keys{}, fmt.Errorf("account %q: deriving keys: %w", user, err)
	}
	return Keys{Salt: salt, Iterations: iterations, StoredKey: sc.StoredKey, ServerKey: sc.ServerKey}, nil
}

// verify reports whether password is the one of SHA-256 keys. It takes
// milliseconds.
func (k *Keys) verify(user, password string) bool {
	got, err := deriveKeys(scram.SHA256, user, password, k.Salt, k.Iterations)
	return err == nil && subtle.ConstantTimeCompare(got.StoredKey, k.StoredKey) == 1
}

func (k *Keys) credentials() scram.StoredCredentials {
	return scram.StoredCredentials{
		KeyFactors: scram.KeyFactors{Salt: string(k.Salt), Iters: k.Iterations},
		StoredKey:  k.StoredKey, ServerKey: k.ServerKey,
	}
}

// Everybody, as a user of a [Directory], is the account of all users that have
// none of their own: who knows its password may call itself what it likes, as
// Jitsi's components do that share a secret.
const Everybody = "*"

// Directory is accounts fixed at start, by user name.
type Directory map[string]Account

// Account implements [Accounts].
func (d Directory) Account(user string) (Account, bool) {
	acc, ok := d[user]
	if !ok {
		acc, ok = d[Everybody]
	}
	return acc, ok
}
