package wire

import (
	"errors"
	"fmt"
	"strings"
)

// JID is an XMPP address (RFC 7622). It is comparable, so that it can be a map
// key. Compare only JIDs that came from [ParseJID].
type JID struct {
	Local, Domain, Resource string
}

// ErrJID is in the tree of every error of [ParseJID].
var ErrJID = errors.New("malformed JID")

const maxJIDPart = 1023 // bytes, RFC 7622 §3

// ParseJID parses and normalises s as Prosody does it, by the profiles nodeprep,
// nameprep and resourceprep (RFC 6122 §2). The domainpart is not put through IDNA: Jitsi's
// tenants make domains such as conference.my_tenant.v1.meet.jitsi that IDNA
// refuses.
func ParseJID(s string) (JID, error) {
	var j JID
	var err error
	bare, resource, hasResource := strings.Cut(s, "/")
	local, domain, hasLocal := strings.Cut(bare, "@")
	if !hasLocal {
		local, domain = "", bare
	}
	if hasLocal && local == "" || hasResource && resource == "" {
		return JID{}, fmt.Errorf("%w: empty part", ErrJID)
	}
	if j.Domain, err = domainpart(domain); err != nil {
		return JID{}, err
	}
	if j.Local, err = localpart(local); err != nil {
		return JID{}, err
	}
	if j.Resource, err = resourcepart(resource); err != nil {
		return JID{}, err
	}
	return j, nil
}

// ParseAddress is [ParseJID] for the raw value of an attribute. It returns the
// zero JID without an error when the attribute is absent or empty.
func ParseAddress(raw []byte) (JID, error) {
	if len(raw) == 0 {
		return JID{}, nil
	}
	return ParseJID(Unescape(raw))
}

// IsZero reports whether j is no address.
func (j JID) IsZero() bool { return j == JID{} }

// Bare returns j without its resource.
func (j JID) Bare() JID { return JID{Local: j.Local, Domain: j.Domain} }

// WithResource returns j with another resource.
func (j JID) WithResource(r string) JID { return JID{j.Local, j.Domain, r} }

// WithDomain returns j with another domain.
func (j JID) WithDomain(d string) JID { return JID{j.Local, d, j.Resource} }

// String returns local@domain/resource, absent parts left out.
func (j JID) String() string {
	s := j.Domain
	if j.Local != "" {
		s = j.Local + "@" + s
	}
	if j.Resource != "" {
		s += "/" + j.Resource
	}
	return s
}

func domainpart(s string) (string, error) {
	s = strings.TrimSuffix(s, ".")
	if s == "" || len(s) > maxJIDPart {
		return "", fmt.Errorf("%w: domain of %d bytes", ErrJID, len(s))
	}
	if s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return "", fmt.Errorf("%w: empty label in domain", ErrJID)
	}
	if printableASCII(s) {
		s = strings.ToLower(s)
	} else {
		var err error
		if s, err = preparedDomain(s); err != nil {
			return "", err
		}
		if s == "" || len(s) > maxJIDPart || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
			return "", fmt.Errorf("%w: empty label in domain", ErrJID)
		}
	}
	for _, r := range s {
		if r <= ' ' || r == 0x7F || strings.ContainsRune(`"&'/<>@`, r) || r == '\uFFFD' {
			return "", fmt.Errorf("%w: forbidden character in domain", ErrJID)
		}
	}
	return s, nil
}

func localpart(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	if len(s) > maxJIDPart {
		return "", fmt.Errorf("%w: localpart of %d bytes", ErrJID, len(s))
	}
	if !printableASCII(s) {
		mapped, err := preparedLocal(s)
		if err != nil {
			return "", err
		}
		s = mapped
	} else {
		s = strings.ToLower(s)
	}
	if s == "" || strings.ContainsAny(s, `"&'/:<>@ `) || len(s) > maxJIDPart { // RFC 7622 §3.3.1
		return "", fmt.Errorf("%w: forbidden character in localpart", ErrJID)
	}
	return s, nil
}

func resourcepart(s string) (string, error) {
	if len(s) > maxJIDPart {
		return "", fmt.Errorf("%w: resource of %d bytes", ErrJID, len(s))
	}
	if printableASCII(s) {
		return s, nil
	}
	mapped, err := preparedResource(s)
	if err != nil {
		return "", err
	}
	if mapped == "" || len(mapped) > maxJIDPart {
		return "", fmt.Errorf("%w: resource of %d bytes", ErrJID, len(mapped))
	}
	return mapped, nil
}

// printableASCII lets the usual address past the tables of stringprep.
func printableASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] >= 0x7F {
			return false
		}
	}
	return true
}

// CutTenant takes apart the localpart of a room's address between servers, in which
// Jitsi's mod_muc_domain_mapper writes the tenant: [tenant]room. The tenant is empty
// for a room of none.
func CutTenant(local string) (tenant, room string) {
	rest, ok := strings.CutPrefix(local, "[")
	if !ok {
		return "", local
	}
	if tenant, room, ok = strings.Cut(rest, "]"); !ok || tenant == "" || room == "" {
		return "", local
	}
	return tenant, room
}

// WithTenant is what [CutTenant] takes apart.
func WithTenant(tenant, room string) string { return "[" + tenant + "]" + room }
