package visitor

import (
	"crypto/tls"
	"crypto/x509"
)

// shownCert is the certificate of ours that a handshake has shown, which a login
// can be bound to (RFC 5929 §4). It may have been another one a moment ago.
type shownCert struct{ leaf *x509.Certificate }

// noted returns a copy of cfg for one handshake, which notes the certificate. A
// resumed TLS session shows none.
func (c *shownCert) noted(cfg *tls.Config) *tls.Config {
	own := cfg.Clone()
	own.Certificates = nil // with them the function below is not always asked
	own.GetCertificate = func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := certificateFor(cfg, hello)
		if err == nil && cert != nil && len(cert.Certificate) > 0 {
			c.leaf = cert.Leaf
			if c.leaf == nil {
				c.leaf, _ = x509.ParseCertificate(cert.Certificate[0]) // else there is no such binding
			}
		}
		return cert, err
	}
	return own
}

// certificateFor chooses as crypto/tls does.
func certificateFor(cfg *tls.Config, hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if cfg.GetCertificate != nil && (len(cfg.Certificates) == 0 || hello.ServerName != "") {
		if cert, err := cfg.GetCertificate(hello); cert != nil || err != nil {
			return cert, err
		}
	}
	if len(cfg.Certificates) == 0 {
		return nil, nil
	}
	for i := range cfg.Certificates {
		if hello.SupportsCertificate(&cfg.Certificates[i]) == nil {
			return &cfg.Certificates[i], nil
		}
	}
	return &cfg.Certificates[0], nil
}
