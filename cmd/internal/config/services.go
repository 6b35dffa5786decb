package config

import (
	"fmt"
	"net"
	"net/url"
	"strconv"
)

// ExternalService is a STUN or TURN server.
type ExternalService struct {
	Type      string // stun, stuns, turn or turns
	Host      string
	Port      int    // 0 when the URI has none
	Transport string // udp, tcp or ""
}

// ExternalServices parses TURNServices: URIs of RFC 7064 and RFC 7065.
func (c *Config) ExternalServices() ([]ExternalService, error) {
	var list []ExternalService
	for _, s := range c.TURNServices {
		e, err := parseService(s)
		if err != nil {
			return nil, fmt.Errorf("%q is not a URI such as turn:turn.example.com:3478?transport=udp: %w", s, err)
		}
		list = append(list, e)
	}
	return list, nil
}

func parseService(s string) (ExternalService, error) {
	u, err := url.Parse(s)
	if err != nil {
		return ExternalService{}, err
	}
	e := ExternalService{Type: u.Scheme, Host: u.Opaque, Transport: u.Query().Get("transport")}
	switch e.Type {
	case "stun", "stuns", "turn", "turns":
	default:
		return e, fmt.Errorf("the scheme is none of stun, stuns, turn, turns")
	}
	if host, port, err := net.SplitHostPort(u.Opaque); err == nil {
		e.Host = host
		if e.Port, err = strconv.Atoi(port); err != nil || e.Port < 1 || e.Port > 65535 {
			return e, fmt.Errorf("%q is not a port", port)
		}
	}
	if e.Host == "" {
		return e, fmt.Errorf("the host is missing")
	}
	switch e.Transport {
	case "", "udp", "tcp":
	default:
		return e, fmt.Errorf("the transport is neither udp nor tcp")
	}
	return e, nil
}
