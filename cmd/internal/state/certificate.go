package state

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
	"time"
)

const (
	certLife   = 10 * 365 * 24 * time.Hour
	certMargin = 30 * 24 * time.Hour // renewed so long before its end
)

// CertificateFiles are where the node keeps the certificate that it made.
func (d Directory) CertificateFiles() (cert, key string) {
	return d.file("node.crt"), d.file("node.key")
}

// Certificate returns the node's own certificate, made once. It is made anew when it
// is about to expire or lacks one of the domains.
func (d Directory) Certificate(domains []string) (tls.Certificate, error) {
	certFile, keyFile := d.CertificateFiles()
	cert, err := tls.LoadX509KeyPair(certFile, keyFile)
	switch {
	case err == nil && usable(cert.Leaf, domains):
		return cert, nil
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return tls.Certificate{}, fmt.Errorf("certificate: %w; remove %s and %s to have new ones made", err, certFile, keyFile)
	}
	if cert, err = d.newCertificate(domains); err != nil {
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

func (d Directory) newCertificate(domains []string) (tls.Certificate, error) {
	cert, key, err := selfSigned(domains, certLife)
	if err != nil {
		return tls.Certificate{}, err
	}
	certFile, keyFile := d.CertificateFiles()
	if err := Write(keyFile, key); err != nil {
		return tls.Certificate{}, err
	}
	if err := Write(certFile, cert); err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}

// SelfSigned returns a certificate such as a node makes for itself, for an hour.
func SelfSigned(domains []string) (tls.Certificate, error) {
	cert, key, err := selfSigned(domains, time.Hour)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(cert, key)
}

// selfSigned makes a certificate and its key, PEM.
func selfSigned(domains []string, life time.Duration) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: domains[0]},
		DNSNames:     domains,
		// Clocks of two servers may differ.
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(life),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	cert = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	return cert, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}
