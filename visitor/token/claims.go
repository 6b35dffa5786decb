package token

import (
	"bytes"
	"encoding/json"
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

// claims is the body of a Jitsi token. Those that decide something must have
// their type, or the token is malformed; those that only describe are taken as
// they come.
type claims struct {
	Issuer   *string          `json:"iss"`
	Audience jwt.ClaimStrings `json:"aud"`
	Subject  *string          `json:"sub"`
	Room     *string          `json:"room"`
	Expires  *float64         `json:"exp"`
	Begins   *float64         `json:"nbf"`
	UserID   text             `json:"user_id"` // in place of a context
	Context  *struct {
		User struct {
			ID        text `json:"id"`
			Name      text `json:"name"`
			Email     text `json:"email"`
			Avatar    text `json:"avatar"`
			AvatarURL text `json:"avatarURL"`
			Moderator flag `json:"moderator"`
		} `json:"user"`
		Group  text    `json:"group"`
		Tenant *string `json:"tenant"`
		Room   struct {
			Regex flag `json:"regex"`
		} `json:"room"`
		Features map[string]flag `json:"features"`
	} `json:"context"`
}

// The methods of jwt.Claims. Nobody calls them: Verifier checks the claims
// itself, in words its users can act on.

func (*claims) GetExpirationTime() (*jwt.NumericDate, error) { return nil, nil }
func (*claims) GetIssuedAt() (*jwt.NumericDate, error)       { return nil, nil }
func (*claims) GetNotBefore() (*jwt.NumericDate, error)      { return nil, nil }
func (*claims) GetIssuer() (string, error)                   { return "", nil }
func (*claims) GetSubject() (string, error)                  { return "", nil }
func (*claims) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }

// text is a string, or a number or truth value in place of one.
type text string

// UnmarshalJSON never fails: what is no text is empty.
func (t *text) UnmarshalJSON(b []byte) error {
	var s string
	switch {
	case len(b) > 0 && b[0] == '"':
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
	case bytes.Equal(b, []byte("null")), len(b) > 0 && (b[0] == '{' || b[0] == '['):
	default:
		s = string(b)
	}
	*t = text(clean(s))
	return nil
}

// flag is true, or the text "true".
type flag bool

// UnmarshalJSON never fails: what is neither is false.
func (f *flag) UnmarshalJSON(b []byte) error {
	*f = flag(string(b) == "true" || string(b) == `"true"`)
	return nil
}

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
	id := &Identity{UserID: string(c.UserID), TenantMatches: true}
	if c.Context == nil {
		return id
	}
	u := &c.Context.User
	id.UserID, id.GroupID = string(u.ID), string(c.Context.Group)
	id.Name, id.Email, id.Avatar = string(u.Name), string(u.Email), string(u.Avatar)
	if id.Avatar == "" {
		id.Avatar = string(u.AvatarURL)
	}
	id.Moderator = bool(u.Moderator)
	if t := c.Context.Tenant; t != nil && tenant != "" {
		id.TenantMatches = strings.EqualFold(*t, tenant)
	}
	for name, on := range c.Context.Features {
		if on && name == clean(name) && len(id.Features) < maxFeatures {
			if id.Features == nil {
				id.Features = make(map[string]bool)
			}
			id.Features[name] = true
		}
	}
	return id
}
