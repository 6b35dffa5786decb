package token

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// Keys finds the keys of tokens: []byte, *rsa.PublicKey, *ecdsa.PublicKey or
// ed25519.PublicKey. Its method may be called from any goroutine.
type Keys interface {
	// Keys returns those a token with that key id, "" for none, may be
	// verified with. It may block until ctx ends. The error is a [Refusal].
	Keys(ctx context.Context, kid string) ([]any, error)
}

var (
	errNoKeyID    = Refusal("the token names no key")
	errUnknownKey = Refusal("the token's key is not known")
	errNoKey      = Refusal("the token's key could not be fetched")
)

// fits reports whether a key is one of an algorithm. A token must not choose
// how our key is used.
func fits(alg string, key any) bool {
	switch k := key.(type) {
	case []byte:
		return strings.HasPrefix(alg, "HS")
	case *rsa.PublicKey:
		return strings.HasPrefix(alg, "RS") || strings.HasPrefix(alg, "PS")
	case *ecdsa.PublicKey:
		return alg == curveAlgorithm(k)
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}

// curveAlgorithm is the one algorithm of a curve (RFC 7518 §3.4).
func curveAlgorithm(k *ecdsa.PublicKey) string {
	switch k.Curve.Params().BitSize {
	case 256:
		return "ES256"
	case 384:
		return "ES384"
	case 521:
		return "ES512"
	}
	return ""
}

// static are keys of a file, the same for every token.
type static []any

// Keys implements Keys.
func (s static) Keys(context.Context, string) ([]any, error) { return s, nil }

// FileKeys reads the content of a key file: public keys or certificates in PEM
// form, or else a shared secret, without the end of its line. It also returns
// the usual algorithm of each key.
func FileKeys(content []byte) (Keys, []string, error) {
	if !strings.Contains(string(content), "-----BEGIN ") {
		secret := strings.TrimRight(strings.TrimPrefix(string(content), "\ufeff"), "\r\n")
		if secret == "" {
			return nil, nil, errors.New("token: the key is empty")
		}
		return static{[]byte(secret)}, []string{"HS256"}, nil
	}
	keys, err := parsePEM(content)
	if err != nil {
		return nil, nil, err
	}
	var algorithms []string
	for _, k := range keys {
		algorithms = append(algorithms, usualAlgorithm(k))
	}
	return static(keys), algorithms, nil
}

func usualAlgorithm(key any) string {
	switch k := key.(type) {
	case *ecdsa.PublicKey:
		return curveAlgorithm(k)
	case ed25519.PublicKey:
		return "EdDSA"
	}
	return "RS256"
}

// parsePEM returns the public keys of all blocks, one at least.
func parsePEM(b []byte) ([]any, error) {
	var keys []any
	for {
		var block *pem.Block
		if block, b = pem.Decode(b); block == nil {
			break
		}
		k, err := parseBlock(block)
		if err != nil {
			return nil, fmt.Errorf("token: PEM block %q: %w", block.Type, err)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("token: no key in PEM form")
	}
	return keys, nil
}

func parseBlock(block *pem.Block) (key any, err error) {
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var c *x509.Certificate
		if c, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = c.PublicKey
		}
	default:
		return nil, errors.New("not a public key")
	}
	if err != nil {
		return nil, err
	}
	return key, usable(key)
}

// usable refuses keys that no algorithm is for, and RSA keys that RFC 7518 §3.3
// does not allow.
func usable(key any) error {
	switch k := key.(type) {
	case *rsa.PublicKey:
		if k.N.BitLen() < 2048 {
			return errors.New("RSA key of less than 2048 bits")
		}
		return nil
	case *ecdsa.PublicKey:
		if curveAlgorithm(k) != "" {
			_, err := k.ECDH() // is it a point of its curve?
			return err
		}
	case ed25519.PublicKey:
		return nil
	}
	return fmt.Errorf("unusable kind of key %T", key)
}
