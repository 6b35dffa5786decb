package token

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/MicahParks/jwkset"
)

var errNoKeys = errors.New("no list of keys")

// maxLoggedKeyID bounds the part of a key id that an error is reported with.
const maxLoggedKeyID = 128

// required are the members that make a public key of each type (RFC 7518 §6,
// RFC 8037 §2). Those in base64 are marked.
var required = map[string][]struct {
	name    string
	encoded bool
}{
	"RSA": {{"n", true}, {"e", true}},
	"EC":  {{"crv", false}, {"x", true}, {"y", true}},
	"OKP": {{"crv", false}, {"x", true}},
}

// parseJWK reads one key of a set (RFC 7517 §4). Only the members that its type
// needs count: identity providers write others in many ways, and none of them is
// worth a key. With an error, which is why the key cannot be used, the id is cut
// to what a log can hold.
func parseJWK(raw []byte) (kid string, key any, err error) {
	o, err := parseObject(raw)
	if err != nil {
		return "", nil, err
	}
	id, err := member[string](o, "kid")
	if err != nil {
		return "", nil, err
	}
	if id != nil {
		kid = *id
	}
	key, err = o.publicKey()
	if err != nil {
		return kid[:min(len(kid), maxLoggedKeyID)], nil, err
	}
	return kid, key, nil
}

// publicKey makes the key of a JWK.
func (o object) publicKey() (any, error) {
	if strings.EqualFold(o.text("use"), "enc") {
		return nil, errors.New("it is for encryption")
	}
	kty := strings.ToUpper(o.text("kty"))
	names, ok := required[kty]
	if !ok {
		return nil, fmt.Errorf("keys of type %q are not used", kty)
	}
	if raw, secret := o["d"]; secret && string(raw) != "null" {
		return nil, errors.New("it is a private key, which a published set must not hold")
	}
	bare := map[string]string{"kty": kty}
	for _, n := range names {
		v, err := member[string](o, n.name)
		switch {
		case err != nil:
			return nil, err
		case v == nil || *v == "":
			return nil, fmt.Errorf("it has no member %q", n.name)
		case n.encoded:
			if bare[n.name], err = rawURL(*v); err != nil {
				return nil, fmt.Errorf("%s: %w", n.name, err)
			}
		default:
			bare[n.name] = curve(*v)
		}
	}
	b, err := json.Marshal(bare)
	if err != nil {
		return nil, err
	}
	k, err := jwkset.NewJWKFromRawJSON(b, jwkset.JWKMarshalOptions{}, jwkset.JWKValidateOptions{})
	if err != nil {
		return nil, err
	}
	return k.Key(), usable(k.Key())
}

// curves are those that a key may be of, as RFC 7518 §6.2.1.1 and RFC 8037 §2 spell
// them.
var curves = []string{"P-256", "P-384", "P-521", "Ed25519"}

// curve spells a curve's name as its RFC does.
func curve(name string) string {
	if at := slices.IndexFunc(curves, func(c string) bool { return strings.EqualFold(c, name) }); at >= 0 {
		return curves[at]
	}
	return name
}

// rawURL writes base64 of either alphabet, padded or not, as RFC 7515 §2 has it.
// White space in it does not count.
func rawURL(s string) (string, error) {
	s = strings.NewReplacer("+", "-", "/", "_").Replace(strings.TrimRight(strings.Join(strings.Fields(s), ""), "="))
	_, err := base64.RawURLEncoding.DecodeString(s)
	return s, err
}
