package token

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Bounds of what is asked of a key server.
const (
	fetchTimeout = 5 * time.Second // of one request
	maxBody      = 1 << 20         // bytes of an answer
	maxKeyID     = 256             // bytes
)

// errAbsent: the server says that there is no such key.
var errAbsent = errors.New("token: no such key")

// get fetches a URL, from. maxAge is what the answer says of itself (RFC 9111
// §5.2.2.1), zero if nothing.
func get(client *http.Client, from string) (body []byte, maxAge time.Duration, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), fetchTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, 0, fmt.Errorf("token: %w", err)
	}
	res, err := client.Do(req)
	if err != nil {
		return nil, 0, fmt.Errorf("token: %w", err)
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound, http.StatusGone, http.StatusForbidden: // the last by object stores
		return nil, 0, errAbsent
	default:
		return nil, 0, fmt.Errorf("token: %s answers %s", req.URL.Redacted(), res.Status)
	}
	body, err = io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return nil, 0, fmt.Errorf("token: %w", err)
	}
	if len(body) > maxBody {
		return nil, 0, fmt.Errorf("token: %s answers with more than %d bytes", req.URL.Redacted(), maxBody)
	}
	return body, maxAgeOf(res.Header), nil
}

// redacted is a URL without the password it may hold, for the log.
func redacted(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Redacted()
}

func maxAgeOf(h http.Header) time.Duration {
	for _, line := range h.Values("Cache-Control") {
		for part := range strings.SplitSeq(line, ",") {
			name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
			if !strings.EqualFold(name, "max-age") {
				continue
			}
			if n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil {
				return time.Duration(n) * time.Second
			}
		}
	}
	return 0
}
