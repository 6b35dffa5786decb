package sasl

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"

	"github.com/xdg-go/scram"
)

// Types of bindings, as registered with IANA.
const (
	TLSExporter       = "tls-exporter"         // RFC 9266
	TLSServerEndPoint = "tls-server-end-point" // RFC 5929 §4
)

// Binding is what one TLS connection has and no other (RFC 5056): a login bound
// to it cannot be passed on by somebody in the middle.
type Binding struct {
	Type string
	data []byte
}

func (b Binding) scram() scram.ChannelBinding {
	return scram.ChannelBinding{Type: scram.ChannelBindingType(b.Type), Data: b.data}
}

// Bindings are those of the server's side of a connection, the better first.
// cert is the one it has shown, nil if that is not known.
func Bindings(state tls.ConnectionState, cert *x509.Certificate) []Binding {
	var list []Binding
	// It fails for TLS 1.2 without extended master secret, where two
	// connections can have the same (RFC 9266 §4.2).
	if data, err := state.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32); err == nil {
		list = append(list, Binding{TLSExporter, data})
	}
	if data := endPoint(cert); data != nil {
		list = append(list, Binding{TLSServerEndPoint, data})
	}
	return list
}

// endPoint hashes a certificate with the hash of its signature, nil where that
// has none (RFC 5929 §4.1).
func endPoint(cert *x509.Certificate) []byte {
	if cert == nil {
		return nil
	}
	var hash crypto.Hash
	switch cert.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.DSAWithSHA1,
		x509.SHA256WithRSA, x509.SHA256WithRSAPSS, x509.ECDSAWithSHA256, x509.DSAWithSHA256:
		hash = crypto.SHA256
	case x509.SHA384WithRSA, x509.SHA384WithRSAPSS, x509.ECDSAWithSHA384:
		hash = crypto.SHA384
	case x509.SHA512WithRSA, x509.SHA512WithRSAPSS, x509.ECDSAWithSHA512:
		hash = crypto.SHA512
	default:
		return nil
	}
	h := hash.New()
	h.Write(cert.Raw)
	return h.Sum(nil)
}
