package token

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

// Bounds of what is kept of a token.
const (
	maxToken    = 16 << 10 // bytes; an HTTP header must hold it
	maxText     = 512      // bytes of a name or address
	maxFeatures = 64
)

// claims is the body of a Jitsi token. The claims that decide something must have
// their type, or the token is malformed. Those that are compared with a list decide
// nothing where the list accepts any. Everything else, the context with all that is
// in it above all, only describes, and is taken as it comes.
type claims struct {
	Issuer   listed
	Audience listed
	Subject  listed
	Room     *string
	Expires  *float64 // seconds since 1970
	Begins   *float64 // likewise
	userID   string   // in place of a context

	described bool   // there is a context
	context   object // nil when it is no object
}

// listed is a claim that is compared with what is accepted.
type listed struct {
	there bool     // of whatever type
	texts []string // none for one that is no text
}

// listed returns such a claim.
func (o object) listed(name string) (l listed) {
	text, err := member[string](o, name)
	if _, l.there = o[name]; err == nil && text != nil {
		l.texts = []string{*text}
	}
	return l
}

// audience is a text, or a list of them (RFC 7519 §4.1.3).
func (o object) audience() listed {
	l := o.listed("aud")
	list, err := member[[]json.RawMessage](o, "aud")
	if err != nil || list == nil {
		return l
	}
	for _, raw := range *list {
		var text *string
		if json.Unmarshal(raw, &text) == nil && text != nil {
			l.texts = append(l.texts, *text)
		}
	}
	return l
}

// UnmarshalJSON implements json.Unmarshaler. The error is that of the first claim
// that decides something and has the wrong type.
func (c *claims) UnmarshalJSON(b []byte) error {
	o, err := parseObject(b)
	if err != nil {
		return err
	}
	*c = claims{userID: o.text("user_id"), context: o.part("context")}
	if raw, ok := o["context"]; ok {
		c.described = string(raw) != "null"
	}
	c.Issuer, c.Audience, c.Subject = o.listed("iss"), o.audience(), o.listed("sub")
	return errors.Join(read(o, "room", &c.Room), read(o, "exp", &c.Expires), read(o, "nbf", &c.Begins))
}

func read[T any](o object, name string, to **T) (err error) {
	*to, err = member[T](o, name)
	return err
}

// isPattern reports whether the room's name is a pattern for names.
func (c *claims) isPattern() bool { return c.context.part("room").flag("regex") }

// The methods of jwt.Claims. Nobody calls them: Verifier checks the claims
// itself, in words its users can act on.

func (*claims) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }
func (*claims) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (*claims) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (*claims) GetIssuer() (string, error)                   { return "", nil }
func (*claims) GetSubject() (string, error)                  { return "", nil }
func (*claims) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }

// clean makes a text that any stanza can hold: XML 1.0 §2.2 has no place for
// most control characters.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0xFFFE || r == 0xFFFF {
			return -1
		}
		return r
	}, s)
	if len(s) <= maxText {
		return s
	}
	n := maxText
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// identity is what the claims say of the user. tenant is that of its URL.
func (c *claims) identity(tenant string) *Identity {
	id := &Identity{UserID: c.userID, TenantMatches: true}
	if !c.described {
		return id
	}
	u := c.context.part("user")
	id.UserID, id.GroupID = u.text("id"), c.context.text("group")
	id.Name, id.Email, id.Avatar = u.text("name"), u.text("email"), u.text("avatar")
	if id.Avatar == "" {
		id.Avatar = u.text("avatarURL")
	}
	id.Moderator = u.flag("moderator")
	if t, err := member[string](c.context, "tenant"); err == nil && t != nil && tenant != "" {
		id.TenantMatches = strings.EqualFold(*t, tenant)
	}
	features := c.context.part("features")
	for _, name := range slices.Sorted(maps.Keys(features)) {
		if features.flag(name) && name == clean(name) && len(id.Features) < maxFeatures {
			if id.Features == nil {
				id.Features = make(map[string]bool)
			}
			id.Features[name] = true
		}
	}
	return id
}
