package token

import (
	"regexp"
	"strings"
)

// Grant is what a verified token allows. It is never changed, and a nil Grant,
// that of a client without a token, allows every room.
type Grant struct {
	identity *Identity
	room     string         // in lower case; "*" or empty for any
	pattern  *regexp.Regexp // in place of room
	tenant   string         // the subject, in lower case; "*" or empty for any
	domains  []string       // subjects that stand for rooms without a tenant
}

// Identity is the user of the token, nil for a nil Grant.
func (g *Grant) Identity() *Identity {
	if g == nil {
		return nil
	}
	return g.identity
}

// Covers reports whether the token is for a room. Both names are in lower case;
// tenant is empty for a room without one.
func (g *Grant) Covers(room, tenant string) bool {
	if g == nil {
		return true
	}
	return g.coversRoom(room) && g.coversTenant(tenant)
}

func (g *Grant) coversRoom(room string) bool {
	if g.pattern != nil {
		return g.pattern.MatchString(room)
	}
	return g.room == "" || g.room == "*" || g.room == room
}

func (g *Grant) coversTenant(tenant string) bool {
	if g.tenant == "" || g.tenant == "*" {
		return true
	}
	if tenant != "" {
		return g.tenant == tenant
	}
	for _, d := range g.domains {
		if g.tenant == d {
			return true
		}
	}
	return false
}

// Succeeds reports whether a client with this grant may go on where one with the
// old grant was: both are of the same tenant, and of the same user or for the
// same room. Everybody may where there was no token.
func (g *Grant) Succeeds(old *Grant) bool {
	switch {
	case old == nil:
		return true
	case g == nil || g.tenant != old.tenant:
		return false
	}
	return g.identity.sameUser(old.identity) || g.sameRoom(old)
}

func (g *Grant) sameRoom(as *Grant) bool {
	return g.room == as.room && (g.pattern == nil) == (as.pattern == nil)
}

// newGrant is the grant of verified claims.
func (r *rules) newGrant(c *claims, tenant string) (*Grant, error) {
	g := &Grant{identity: c.identity(tenant), domains: r.cfg.Domains}
	if c.Room != nil {
		g.room = strings.ToLower(*c.Room)
		if c.isPattern() && g.room != "*" {
			var err error
			if g.pattern, err = roomPattern(g.room); err != nil {
				return nil, refuse("the room pattern of the token cannot be used")
			}
		}
	}
	if !r.cfg.AnyTenant {
		g.tenant = strings.ToLower(c.Subject.texts[0])
	}
	return g, nil
}
