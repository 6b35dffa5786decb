package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vnode/visitor/sasl"
)

func TestAccountLine(t *testing.T) {
	var out strings.Builder
	require.NoError(t, account([]string{"*@jigasi.example.com"}, strings.NewReader("s3cret\n"), &out))
	require.NotContains(t, out.String(), "s3cret")
	domains, err := sasl.ReadAccounts(strings.NewReader(out.String()))
	require.NoError(t, err)
	require.Contains(t, domains, "jigasi.example.com")
	for want, c := range map[string]struct {
		args  []string
		stdin string
	}{
		"name one":              {nil, "x"},
		"no password":           {[]string{"a@b"}, ""},
		"the password is empty": {[]string{"a@b"}, "\n"},
		"is not user@domain":    {[]string{"b"}, "x"},
		"not an address":        {[]string{"a b@c"}, "x"},
	} {
		require.ErrorContains(t, account(c.args, strings.NewReader(c.stdin), &out), want)
	}
}
