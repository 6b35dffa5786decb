package logging

import (
	"log/slog"
	"strings"
)

// secretKeys are parts of keys whose values nobody must read. The parts of the
// node do not log secrets in the first place; this is for the day somebody
// forgets.
var secretKeys = []string{"password", "secret", "token", "authorization", "credential", "cookie", "private"}

const hidden = "[redacted]"

func secret(key string) bool {
	key = strings.ToLower(key)
	for _, s := range secretKeys {
		if strings.Contains(key, s) {
			return true
		}
	}
	return false
}

// redact returns an attribute without its secret, and without those of the
// group it may be.
func redact(a slog.Attr) slog.Attr {
	if secret(a.Key) {
		return slog.String(a.Key, hidden)
	}
	if a.Value = a.Value.Resolve(); a.Value.Kind() != slog.KindGroup {
		return a
	}
	members := a.Value.Group()
	safe := make([]slog.Attr, len(members))
	for i, m := range members {
		safe[i] = redact(m)
	}
	return slog.Attr{Key: a.Key, Value: slog.GroupValue(safe...)}
}

// redacted returns a record without secrets; the same one when it has none.
func redacted(r slog.Record) slog.Record {
	clean := true
	r.Attrs(func(a slog.Attr) bool {
		k := a.Value.Kind()
		clean = k != slog.KindGroup && k != slog.KindLogValuer && !secret(a.Key)
		return clean
	})
	if clean {
		return r
	}
	c := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	r.Attrs(func(a slog.Attr) bool {
		c.AddAttrs(redact(a))
		return true
	})
	return c
}
