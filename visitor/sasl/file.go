package sasl

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"vnode/internal/wire"
)

// An accounts file has a line for each account: its address, or *@domain for
// [Everybody], then the keys of both SCRAM mechanisms in the form of RFC 5803
// §3.1, in any order:
//
//	jigasi@sip.example.com SCRAM-SHA-256$10000:SALT$STORED:SERVER SCRAM-SHA-1$…
//
// Empty lines, and those that begin with '#', are skipped.

// Line is an account as a line of such a file, without the end of the line.
func (a *Account) Line(address string) string {
	return address + " " + a.SHA256.text(SCRAMSHA256) + " " + a.SHA1.text(SCRAMSHA1)
}

func (k *Keys) text(mechanism string) string {
	b64 := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("%s$%d:%s$%s:%s", mechanism, k.Iterations, b64(k.Salt), b64(k.StoredKey), b64(k.ServerKey))
}

// ReadAccounts reads an accounts file: its domains' users. The error names the
// line, and quotes nothing secret.
func ReadAccounts(r io.Reader) (map[string]Directory, error) {
	domains := make(map[string]Directory)
	sc := bufio.NewScanner(r)
	for n := 1; sc.Scan(); n++ {
		line := strings.TrimSpace(strings.TrimPrefix(sc.Text(), "\ufeff")) // some editors write a byte order mark
		if line == "" || line[0] == '#' {
			continue
		}
		address, acc, err := parseAccount(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if domains[address.Domain] == nil {
			domains[address.Domain] = make(Directory)
		}
		if _, twice := domains[address.Domain][address.Local]; twice {
			return nil, fmt.Errorf("line %d: %s is there twice", n, address)
		}
		domains[address.Domain][address.Local] = acc
	}
	return domains, sc.Err()
}

func parseAccount(line string) (wire.JID, Account, error) {
	f := strings.Fields(line)
	if len(f) != 3 {
		return wire.JID{}, Account{}, errors.New("not an address and two keys")
	}
	address, err := wire.ParseJID(f[0])
	if err != nil || address.Local == "" || address.Resource != "" {
		return wire.JID{}, Account{}, fmt.Errorf("%q is not user@domain", f[0])
	}
	var acc Account
	for _, text := range f[1:] {
		name, rest, _ := strings.Cut(text, "$")
		var keys *Keys
		size := 0
		switch name {
		case SCRAMSHA1:
			keys, size = &acc.SHA1, 20
		case SCRAMSHA256:
			keys, size = &acc.SHA256, 32
		default:
			return wire.JID{}, Account{}, fmt.Errorf("keys are neither for %s nor for %s", SCRAMSHA1, SCRAMSHA256)
		}
		if *keys, err = parseKeys(rest, size); err != nil {
			return wire.JID{}, Account{}, fmt.Errorf("%s: %w", name, err)
		}
	}
	if acc.SHA1.Salt == nil || acc.SHA256.Salt == nil {
		return wire.JID{}, Account{}, fmt.Errorf("keys for both %s and %s are needed", SCRAMSHA1, SCRAMSHA256)
	}
	return address, acc, nil
}

var errKeys = errors.New("keys are not ITERATIONS:SALT$STORED:SERVER")

func parseKeys(s string, size int) (k Keys, err error) {
	salt, keys, ok := strings.Cut(s, "$")
	count, salt, ok2 := strings.Cut(salt, ":")
	stored, server, ok3 := strings.Cut(keys, ":")
	if !ok || !ok2 || !ok3 {
		return Keys{}, errKeys
	}
	if k.Iterations, err = strconv.Atoi(count); err != nil {
		return Keys{}, errKeys
	}
	for _, part := range []struct {
		to   *[]byte
		text string
		size int
	}{{&k.Salt, salt, saltSize}, {&k.StoredKey, stored, size}, {&k.ServerKey, server, size}} {
		if *part.to, err = base64.StdEncoding.DecodeString(part.text); err != nil || len(*part.to) != part.size {
			return Keys{}, errKeys
		}
	}
	if k.Iterations != iterations {
		// An unknown user, to whom we show our own number, could be told
		// from a known one.
		return Keys{}, fmt.Errorf("%d iterations, not %d; make the line anew", k.Iterations, iterations)
	}
	return k, nil
}
