package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vnode/cmd/internal/config"
)

// state is the directory a node keeps its own things in.
type state struct {
	dir string
}

// openState finds and makes the state directory, readable by its owner alone.
func openState(c *config.Config) (*state, error) {
	dir, err := c.StateDirectory()
	if err != nil {
		return nil, err
	}
	if err := config.MakeStateDirectory(dir); err != nil {
		return nil, err
	}
	s := &state{dir: dir}
	// s2s appends to it. Made by root, it must be the unit's.
	if err := makeOnce(s.knownCerts()); err != nil {
		return nil, fmt.Errorf("known certificates: %w", err)
	}
	return s, nil
}

func (s *state) path(name string) string { return filepath.Join(s.dir, name) }

// knownCerts is where s2s remembers the certificates main has shown.
func (s *state) knownCerts() string { return s.path("known-certificates") }

// focusPassword returns the focus password and the file that holds it: the
// configured one, else one generated once.
func (s *state) focusPassword(configured string) (password, path string, err error) {
	if configured != "" {
		password, err = readPassword(configured)
		return password, configured, err
	}
	path = s.path("focus-password")
	password, err = readPassword(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return password, path, err
	}
	password = rand.Text()
	if err := writeFile(path, []byte(password+"\n")); err != nil {
		return "", "", fmt.Errorf("focus password: %w", err)
	}
	return password, path, nil
}

// adminToken returns the token operators need to change something: the
// configured one, else one generated once into the file admin-token.
func (s *state) adminToken(configured string) (token string, err error) {
	if configured != "" {
		if token, err = readSecret(configured); err != nil {
			return "", fmt.Errorf("admin-token-file: %w", err)
		}
		return token, nil
	}
	path := s.path("admin-token")
	token, err = readSecret(path)
	if errors.Is(err, fs.ErrNotExist) {
		token = rand.Text()
		err = writeFile(path, []byte(token+"\n"))
	}
	if err != nil {
		return "", fmt.Errorf("admin token: %w", err)
	}
	return token, nil
}

func readPassword(path string) (string, error) {
	password, err := readSecret(path)
	if err != nil {
		return "", fmt.Errorf("focus password: %w", err)
	}
	return password, nil
}

// readSecret returns the text of a file without the end of its line, and without the
// byte order mark that some editors write.
func readSecret(path string) (string, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	secret := strings.TrimRight(strings.TrimPrefix(string(b), "\ufeff"), "\r\n")
	if secret == "" {
		return "", fmt.Errorf("%s is empty; put the secret on its first line", path)
	}
	return secret, nil
}

const (
	certLife   = 10 * 365 * 24 * time.Hour
	certMargin = 30 * 24 * time.Hour // renewed so long before its end
)

// certificate returns the configured certificate, or the node's own.
func (s *state) certificate(c *config.Config) (tls.Certificate, error) {
	if c.CertificateFile == "" {
		return s.selfSigned([]string{c.Host(), c.Rooms(), c.AuthDomain})
	}
	cert, err := tls.LoadX509KeyPair(c.CertificateFile, c.KeyFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate-file %s: %w", c.CertificateFile, err)
	}
	return cert, nil
}

// selfSigned returns the node's own certificate, made once. It is made anew
// when it is about to expire or lacks one of the domains.
func (s *state) selfSigned(domains []string) (tls.Certificate, error) {
	certFile, keyFile := s.path("node.crt"), s.path("node.key")
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	switch {
	case err == nil && usable(cert.Leaf, domains):
		return cert, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return tls.Certificate{}, fmt.Errorf("certificate: %w; remove %s and %s to have new ones made", err, certFile, keyFile)
	}
	if err := newCertificate(certFile, keyFile, domains); err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	cert, err = tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate: %w", err)
	}
	return cert, nil
}

func usable(leaf *x509.Certificate, domains []string) bool {
	if leaf == nil || time.Now().Add(certMargin).After(leaf.NotAfter) {
		return false
	}
	for _, d := range domains {
		if leaf.VerifyHostname(d) != nil {
			return false
		}
	}
	return true
}

func newCertificate(certFile, keyFile string, domains []string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: domains[0]},
		DNSNames:     domains,
		// Clocks of two servers may differ.
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(certLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writeFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})); err != nil {
		return err
	}
	return writeFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}

// roomRecord is where the names of the rooms are kept, see [record].
func (s *state) roomRecord() string { return s.path("rooms") }

// makeOnce makes an empty file where there is none.
func makeOnce(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(f.Close(), config.OwnState(path))
}

// writeFile replaces a file whole, or not at all, readable by its owner alone.
func writeFile(path string, b []byte) error { return replaceFile(path, b, false) }

// writeDurably is writeFile that a loss of power leaves whole as well.
func writeDurably(path string, b []byte) error { return replaceFile(path, b, true) }

func replaceFile(path string, b []byte, sync bool) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // fails once it is renamed
	if _, err := f.Write(b); err != nil {
		f.Close()
		return err
	}
	if sync {
		if err := f.Sync(); err != nil {
			f.Close()
			return err
		}
	}
	if err := errors.Join(f.Close(), config.OwnState(f.Name())); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
