package conference

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// server is what a side of server-to-server streams needs to negotiate them.
// All fields are static once it is in use.
type server struct {
	own      []string // domains it serves
	trusted  []string // domains it takes streams from
	cert     tls.Certificate
	secret   []byte // of dialback keys
	dialback bool   // offer and use only dialback
	timeout  time.Duration

	// The one peer it opens streams to.
	addr string
	dial DialFunc
}

// newServer returns a server with a self-signed certificate. The caller sets
// what is still empty.
func newServer(own, trusted []string) (*server, error) {
	v := &server{own: own, trusted: trusted, secret: make([]byte, 32)}
	_, _ = rand.Read(v.secret) // never fails
	var err error
	if v.cert, err = selfSigned(own); err != nil {
		return nil, fmt.Errorf("certificate for %s: %w", own[0], err)
	}
	return v, nil
}

func (v *server) serves(domain string) bool { return slices.Contains(v.own, domain) }
func (v *server) trusts(domain string) bool { return slices.Contains(v.trusted, domain) }

func selfSigned(names []string) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}
