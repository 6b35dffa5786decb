package prosody

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"
)

// A Certificate is a key and a certificate for one or more domains, usable on
// both ends of a server stream.
type Certificate struct {
	CertPEM, KeyPEM []byte
}

// TLS returns the certificate in the form crypto/tls takes.
func (c Certificate) TLS() (tls.Certificate, error) {
	return tls.X509KeyPair(c.CertPEM, c.KeyPEM)
}

// A CA signs certificates of the servers of one test. Servers with [AuthExternal]
// trust it and nothing else.
type CA struct {
	// Static after construction.
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// NewCA makes a certificate authority with a fresh key.
func NewCA() (*CA, error) {
	template := newTemplate("vnode test CA")
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature
	key, der, err := sign(template, nil)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("prosody: parse CA certificate: %w", err)
	}
	return &CA{cert: cert, key: key, pem: encodeCert(der)}, nil
}

// PEM returns the certificate of the authority.
func (ca *CA) PEM() []byte { return ca.pem }

// Pool returns a pool that trusts the authority alone.
func (ca *CA) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	return pool
}

// Issue makes a key and a certificate for the domains, which become its DNS
// names (RFC 6120 §13.7.1.2).
func (ca *CA) Issue(domains ...string) (Certificate, error) {
	return issue(ca, domains)
}

// SelfSigned makes a key and a certificate for the domains that nobody vouches
// for.
func SelfSigned(domains ...string) (Certificate, error) {
	return issue(nil, domains)
}

func issue(ca *CA, domains []string) (Certificate, error) {
	if len(domains) == 0 {
		return Certificate{}, fmt.Errorf("prosody: a certificate needs a domain")
	}
	template := newTemplate(domains[0])
	template.DNSNames = domains
	template.KeyUsage = x509.KeyUsageDigitalSignature
	// A server is the TLS client of the streams it opens.
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	key, der, err := sign(template, ca)
	if err != nil {
		return Certificate{}, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return Certificate{}, fmt.Errorf("prosody: encode key: %w", err)
	}
	return Certificate{
		CertPEM: encodeCert(der),
		KeyPEM:  pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
	}, nil
}

func newTemplate(name string) *x509.Certificate {
	now := time.Now()
	return &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()),
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    now.Add(-time.Hour),
		NotAfter:     now.Add(90 * 24 * time.Hour),
	}
}

// sign makes a key for the template; the authority signs, or the key itself.
func sign(template *x509.Certificate, ca *CA) (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("prosody: make key: %w", err)
	}
	parent, signer := template, key
	if ca != nil {
		parent, signer = ca.cert, ca.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		return nil, nil, fmt.Errorf("prosody: sign certificate of %s: %w", template.Subject.CommonName, err)
	}
	return key, der, nil
}

func encodeCert(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}
