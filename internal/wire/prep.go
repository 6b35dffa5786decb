package wire

import (
	"fmt"
	"slices"
	"strings"

	"github.com/xdg-go/stringprep"
	"golang.org/x/text/unicode/bidi"
	"golang.org/x/text/unicode/norm"
)

// Names are prepared as Prosody does it, by the profiles nodeprep, nameprep and
// resourceprep of RFC 6122 (stringprep, RFC 3454) and not by those of RFC 7622: the
// main server and jicofo call a room by the name that Prosody has made of it. größe
// is grösse to them, and a visitor that asked for größe would wait for ever. Code
// points that Unicode 3.2 does not know, most emoji among them, pass as they are,
// but for the joiners between them, which are left out.

var (
	namesMappings    = []stringprep.Mapping{stringprep.TableB1, stringprep.TableB2} // to lower case as well
	resourceMappings = []stringprep.Mapping{stringprep.TableB1}
	prohibited       = []stringprep.Set{
		stringprep.TableC1_2, stringprep.TableC2_1, stringprep.TableC2_2, stringprep.TableC3, stringprep.TableC4, stringprep.TableC5,
		stringprep.TableC6, stringprep.TableC7, stringprep.TableC8, stringprep.TableC9,
	}
)

// maxPreps is how often a name is prepared until nothing changes any more: once,
// for all but a handful of strange ones.
const maxPreps = 4

// prepared returns a name mapped and normalised.
func prepared(s string, by []stringprep.Mapping) (string, error) {
	for range maxPreps {
		next, err := prepareOnce(s, by)
		if err != nil {
			return "", err
		}
		if next == s {
			return s, nil
		}
		s = next
	}
	return "", fmt.Errorf("%w: a name without a normal form", ErrJID)
}

func prepareOnce(s string, by []stringprep.Mapping) (string, error) {
	var b strings.Builder
	begin := 0
	mapped := mapRunes(s, by)
	// What Unicode 3.2 does not know has no normal form there.
	for i, r := range mapped {
		if stringprep.TableA1.Contains(r) {
			b.WriteString(norm.NFKC.String(mapped[begin:i]))
			b.WriteRune(r)
			begin = i + len(string(r))
		}
	}
	b.WriteString(norm.NFKC.String(mapped[begin:]))
	out := b.String()
	for _, r := range out {
		if slices.ContainsFunc(prohibited, func(set stringprep.Set) bool { return set.Contains(r) }) {
			return "", fmt.Errorf("%w: character %U is not allowed in a name", ErrJID, r)
		}
	}
	return out, nil
}

func mapRunes(s string, by []stringprep.Mapping) string {
	var b strings.Builder
	for _, r := range s {
		at := slices.IndexFunc(by, func(m stringprep.Mapping) bool { _, ok := m.Map(r); return ok })
		if at < 0 {
			b.WriteRune(r)
			continue
		}
		to, _ := by[at].Map(r)
		for _, r := range to {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// readableBothWays is the rule for names that are written from right to left (RFC
// 3454 §6): such a name has no character of the other direction, and begins and
// ends with one of its own. Names without such characters are free.
func readableBothWays(s string) error {
	var rightToLeft, leftToRight, begins, ends bool
	for i, r := range s {
		p, _ := bidi.LookupRune(r)
		class := p.Class()
		ends = class == bidi.R || class == bidi.AL
		if i == 0 {
			begins = ends
		}
		rightToLeft, leftToRight = rightToLeft || ends, leftToRight || class == bidi.L
	}
	if rightToLeft && (leftToRight || !begins || !ends) {
		return fmt.Errorf("%w: a name from right to left must have no other letters, and begin and end with such a letter", ErrJID)
	}
	return nil
}

// preparedLocal is the localpart of an address that is not of ASCII. A room of a
// tenant has two names in it, [tenant]room, each written in its own direction.
func preparedLocal(s string) (string, error) {
	s, err := prepared(s, namesMappings)
	if err != nil {
		return "", err
	}
	tenant, room := CutTenant(s)
	return s, allReadable([]string{tenant, room})
}

// preparedDomain is a domain that is not of ASCII.
func preparedDomain(s string) (string, error) {
	s, err := prepared(s, namesMappings)
	if err != nil {
		return "", err
	}
	return s, allReadable(strings.Split(s, "."))
}

// preparedResource is a resourcepart, a nick among them, that is not of ASCII.
func preparedResource(s string) (string, error) {
	s, err := prepared(s, resourceMappings)
	if err != nil {
		return "", err
	}
	return s, readableBothWays(s)
}

func allReadable(names []string) error {
	for _, name := range names {
		if err := readableBothWays(name); err != nil {
			return err
		}
	}
	return nil
}
