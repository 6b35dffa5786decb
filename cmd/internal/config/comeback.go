package config

import (
	"fmt"
	"net"
	"net/url"
)

// Values of Comeback.
const (
	ComebackReload = "reload"
	ComebackSilent = "silent"
	ComebackOff    = "off"
)

// validateComeback looks at what becomes of visitors at a fault.
func (c *Config) validateComeback(bad func(key, format string, args ...any)) {
	switch c.Comeback {
	case ComebackReload, ComebackSilent, ComebackOff:
	default:
		bad("comeback", "%q is none of reload, silent, off", c.Comeback)
	}
	for key, d := range map[string]Duration{
		"comeback-word": c.ComebackWord, "comeback-settle": c.ComebackSettle, "comeback-ask": c.ComebackAsk,
		"comeback-give-up": c.ComebackGiveUp, "join-wait": c.JoinWait,
	} {
		if d <= 0 {
			bad(key, "must be longer than nothing, such as 22s")
		}
	}
	if c.ComebackGiveUp < c.ComebackSettle || c.ComebackGiveUp < c.ComebackAsk {
		bad("comeback-give-up", "must not be before comeback-settle or comeback-ask")
	}
	if !(c.ComebackRate >= 0 && c.ComebackRate <= 1e9) {
		bad("comeback-rate", "%v is not a number a second, such as 100; 0 means no limit", c.ComebackRate)
	}
	if c.JicofoURL != "" {
		if u, err := url.Parse(c.JicofoURL); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			bad("jicofo-url", "%q is not the address of jicofo's REST interface, such as http://127.0.0.1:8888", c.JicofoURL)
		}
	}
	for _, a := range c.OtherNodes {
		if err := adminAddress(a); err != nil {
			bad("other-nodes", "%v", err)
		}
	}
}

func adminAddress(a string) error {
	if _, port, err := net.SplitHostPort(a); err != nil || port == "" {
		return fmt.Errorf("%q is not the admin address of another node, such as 127.0.0.1:52604", a)
	}
	return nil
}
