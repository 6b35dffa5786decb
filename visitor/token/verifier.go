package token

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Algorithms are the signature algorithms (RFC 7518 §3.1, RFC 8037 §3.1) a
// [Config] may name.
var Algorithms = []string{
	"HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
}

// Any, as an issuer or audience, accepts all.
const Any = "*"

// Config says which tokens are accepted.
type Config struct {
	Keys Keys
	// Algorithms are those a token may be signed with. A token's own word
	// only chooses among them (RFC 8725 §3.1).
	Algorithms []string
	// Issuers and Audiences are what 'iss' and 'aud' may be, or [Any]. Both
	// claims must be there in any case.
	Issuers, Audiences []string
	// Domains are the subjects of tokens for rooms without a tenant, besides
	// "*"; in lower case.
	Domains []string
	// AnyTenant lets a token's subject be what it will.
	AnyTenant bool
	// Optional lets clients in that have no token. A wrong one is refused.
	Optional bool
	// RoomOptional accepts tokens without a room, for any.
	RoomOptional bool
	// Leeway is how far the issuer's clock may be from ours.
	Leeway time.Duration
}

// Validate reports everything that is wrong with c, or nil.
func (c *Config) Validate() error {
	var errs []error
	if c.Keys == nil {
		errs = append(errs, errors.New("token: no keys"))
	}
	if len(c.Algorithms) == 0 {
		errs = append(errs, errors.New("token: no algorithm"))
	}
	for _, a := range c.Algorithms {
		if !slices.Contains(Algorithms, a) {
			errs = append(errs, fmt.Errorf("token: algorithm %q is none of %s", a, strings.Join(Algorithms, ", ")))
		}
	}
	if len(c.Issuers) == 0 || len(c.Audiences) == 0 {
		errs = append(errs, errors.New("token: issuers and audiences must be named, or be \"*\""))
	}
	if c.Leeway < 0 {
		errs = append(errs, errors.New("token: leeway is negative"))
	}
	return errors.Join(errs...)
}

// Refusal is why a token is not accepted, in words for the user. They hold
// nothing of the token and nothing secret.
type Refusal string

// Error implements error.
func (r Refusal) Error() string { return "token refused: " + string(r) }

func refuse(format string, args ...any) error { return Refusal(fmt.Sprintf(format, args...)) }

// Verifier verifies tokens. Its methods may be called from any goroutine.
type Verifier struct {
	rules atomic.Pointer[rules]
}

// rules are what a Verifier goes by. They do not change.
type rules struct {
	cfg    Config
	parser *jwt.Parser
}

// New returns a Verifier. The error is that of [Config.Validate].
func New(cfg Config) (*Verifier, error) {
	v := new(Verifier)
	if err := v.Reload(cfg); err != nil {
		return nil, err
	}
	return v, nil
}

// Reload replaces all that tokens are verified by from now on. What was granted
// before stays so. On an error, that of [Config.Validate], nothing has changed.
func (v *Verifier) Reload(cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	v.rules.Store(&rules{cfg: cfg, parser: jwt.NewParser(
		jwt.WithValidMethods(cfg.Algorithms), jwt.WithoutClaimsValidation(), jwt.WithStrictDecoding(),
	)})
	return nil
}

// Verify checks a token, "" for none, of a client whose URL names the tenant,
// in lower case and "" for none. It may fetch a key, and then blocks until that
// is there or ctx ends. The error is a [Refusal]. Without an error the grant is
// nil for a client that needs no token and has none.
func (v *Verifier) Verify(ctx context.Context, raw, tenant string) (*Grant, error) {
	return v.rules.Load().verify(ctx, raw, tenant)
}

func (r *rules) verify(ctx context.Context, raw, tenant string) (*Grant, error) {
	switch {
	case raw == "" && r.cfg.Optional:
		return nil, nil
	case raw == "":
		return nil, refuse("a token is required")
	case len(raw) > maxToken:
		return nil, refuse("the token is too large")
	case strings.ContainsFunc(raw, notCompact):
		return nil, refuse("the token is malformed")
	}
	c := new(claims)
	var found error // by our own key function
	t, err := r.parser.ParseWithClaims(raw, c, func(t *jwt.Token) (any, error) {
		var keys any
		keys, found = r.keys(ctx, t)
		return keys, found
	})
	switch {
	case found != nil:
		return nil, found
	case errors.Is(err, jwt.ErrTokenMalformed):
		return nil, refuse("the token is malformed")
	case err != nil && (t == nil || t.Method == nil || !slices.Contains(r.cfg.Algorithms, t.Method.Alg())):
		return nil, refuse("the token's signature algorithm is not accepted")
	case err != nil:
		return nil, refuse("the token's signature is wrong")
	}
	if err := r.check(c, time.Now()); err != nil {
		return nil, err
	}
	return r.newGrant(c, tenant)
}

// notCompact reports whether a character has no place in a token (RFC 7515 §7.1:
// base64url without padding, and dots). The base64 decoder ignores line ends, so
// bytes behind the signature would go unnoticed.
func notCompact(c rune) bool {
	return !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '.')
}

// keys finds what may verify a token's signature.
func (r *rules) keys(ctx context.Context, t *jwt.Token) (any, error) {
	if typ, _ := t.Header["typ"].(string); !strings.EqualFold(typ, "JWT") {
		return nil, refuse("the token's type is not JWT")
	}
	if _, ok := t.Header["crit"]; ok { // RFC 7515 §4.1.11: there is none we understand
		return nil, refuse("the token has extensions that are not understood")
	}
	kid, ok := t.Header["kid"].(string)
	if !ok && t.Header["kid"] != nil {
		return nil, refuse("the token is malformed")
	}
	all, err := r.cfg.Keys.Keys(ctx, kid)
	if err != nil {
		return nil, err
	}
	var set jwt.VerificationKeySet
	for _, k := range all {
		if fits(t.Method.Alg(), k) {
			set.Keys = append(set.Keys, k)
		}
	}
	if len(set.Keys) == 0 {
		return nil, refuse("there is no key for the token's signature algorithm")
	}
	return set, nil
}

// check looks at the claims of a token whose signature is right.
func (r *rules) check(c *claims, now time.Time) error {
	clock := float64(now.UnixNano()) / 1e9
	leeway := r.cfg.Leeway.Seconds()
	switch {
	case c.Expires != nil && clock >= *c.Expires+leeway:
		return refuse("the token has expired %d s ago", int64(min(clock-*c.Expires, math.MaxInt32)))
	case c.Begins != nil && clock < *c.Begins-leeway:
		return refuse("the token is not valid yet")
	case !c.Issuer.there:
		return refuse("the token names no issuer")
	case !accepted(r.cfg.Issuers, c.Issuer.texts):
		return refuse("the token's issuer is not accepted")
	case !c.Audience.there:
		return refuse("the token names no audience")
	case !accepted(r.cfg.Audiences, c.Audience.texts):
		return refuse("the token's audience is not accepted")
	case c.Room == nil && !r.cfg.RoomOptional:
		return refuse("the token names no room")
	case c.Room != nil && *c.Room == "":
		return refuse("the token's room is empty")
	case !c.Subject.there, !r.cfg.AnyTenant && strings.Join(c.Subject.texts, "") == "":
		return refuse("the token names no subject")
	}
	return nil
}

func accepted(allowed, claimed []string) bool {
	return slices.ContainsFunc(allowed, func(a string) bool { return a == Any || slices.Contains(claimed, a) })
}
