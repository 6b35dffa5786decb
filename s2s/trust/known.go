package trust

import (
	"bufio"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
)

// Fingerprint is the SHA-256 of a certificate.
type Fingerprint [sha256.Size]byte

// Of returns the fingerprint of c.
func Of(c *x509.Certificate) Fingerprint { return sha256.Sum256(c.Raw) }

// String returns it in hexadecimal, as [Config.Pins] takes it.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// Known remembers the certificate each peer showed when it was dialed. Its
// methods are safe for concurrent use.
//
// The file has a line "domain fingerprint" for each time one was learned, the
// last of a domain counts; lines are only appended, so that no crash loses what
// was there and the history of changes stays readable.
type Known struct {
	path string // static; "" keeps nothing on disk

	// Guarded by mu.
	mu    sync.Mutex
	certs map[string]Fingerprint
}

// Open reads what is remembered in a file, which need not exist; with an empty
// path nothing outlives the process. It fails when the file cannot be read.
func Open(path string) (*Known, error) {
	k := &Known{path: path, certs: map[string]Fingerprint{}}
	if path == "" {
		return k, nil
	}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err != nil {
		return nil, fmt.Errorf("known certificates: %w", err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		domain, text, _ := strings.Cut(lines.Text(), " ")
		b, err := hex.DecodeString(strings.TrimSpace(text))
		if err == nil && len(b) == sha256.Size { // a line cut short by a crash is no certificate
			k.certs[domain] = Fingerprint(b)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("known certificates: %w", err)
	}
	return k, nil
}

// Get returns the certificate domain showed last.
func (k *Known) Get(domain string) (Fingerprint, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	f, ok := k.certs[domain]
	return f, ok
}

// Learn remembers what domain showed, appending to the file. When it fails the
// certificate is remembered until the process ends.
func (k *Known) Learn(domain string, seen Fingerprint) error {
	k.remember(domain, seen)
	if k.path == "" {
		return nil
	}
	f, err := os.OpenFile(k.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s %v\n", domain, seen)
	return errors.Join(err, f.Close())
}

func (k *Known) remember(domain string, seen Fingerprint) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.certs[domain] = seen
}
