package request

import (
	"bytes"
	"net/url"
)

// param looks for a parameter in a query. It is url.ParseQuery and Get without
// the map and without memory for what is not asked for.
func param(query []byte, name string) string {
	for len(query) > 0 {
		pair, rest, _ := bytes.Cut(query, []byte("&"))
		query = rest
		if len(pair) == 0 || bytes.IndexByte(pair, ';') >= 0 {
			continue
		}
		k, v, _ := bytes.Cut(pair, []byte("="))
		if !names(k, name) {
			continue
		}
		value, err := url.QueryUnescape(string(v))
		if err == nil {
			return value
		}
	}
	return ""
}

// names reports whether k, encoded, is the name.
func names(k []byte, name string) bool {
	if bytes.IndexByte(k, '%') < 0 && bytes.IndexByte(k, '+') < 0 {
		return string(k) == name
	}
	decoded, err := url.QueryUnescape(string(k))
	return err == nil && decoded == name
}
