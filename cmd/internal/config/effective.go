package config

import (
	"fmt"
	"io"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
)

// origins tell where the value of each key is from: a file's path, the name of a
// variable, a flag. A key that has none has its default.
type origins map[string]string

// note remembers the keys of a configuration file.
func (o origins) note(path, text string) {
	var keys map[string]any
	if toml.Unmarshal([]byte(text), &keys) != nil {
		return // it was read before, with an error that says more
	}
	for key := range keys {
		o[key] = path
	}
}

// named is a key as an error names it: behind the variable that its value is from.
func (o origins) named(key string) string {
	from := o[key]
	first, _, _ := strings.Cut(from, ", ")
	if first == EnvName(key) || slices.Contains(DockerNames(key), first) {
		return from + " (" + key + ")"
	}
	return key
}

// WriteEffective writes the configuration that is in force as a file that has every
// key, each with where its value is from. Secrets are left out.
func (c *Config) WriteEffective(w io.Writer) error {
	for _, s := range c.settings() {
		from := c.from[s.key]
		if secret := dockerSecrets[s.key]; secret != "" && c.heldSecret(s.key) {
			if _, err := fmt.Fprintf(w, "# %s: the value of %s, which is not shown, stands for a file\n", s.key, secret); err != nil {
				return err
			}
			continue
		}
		if from == "" {
			from = "default"
		}
		value, err := tomlValue(s.value.Interface())
		if err != nil {
			return fmt.Errorf("%s: %w", s.key, err)
		}
		if _, err := fmt.Fprintf(w, "%s = %s  # %s\n", s.key, withoutPassword(value), from); err != nil {
			return err
		}
	}
	return nil
}

// heldSecret reports whether the environment has what is otherwise in a key's file.
func (c *Config) heldSecret(key string) bool {
	switch key {
	case "focus-password-file":
		return c.FocusPassword != ""
	case "turn-secret-file":
		return c.TURNSecret != ""
	case "turn-password-file":
		return c.TURNPassword != ""
	}
	return false
}

// tomlValue is a value as a configuration file has it, in one line.
func tomlValue(v any) (string, error) {
	if d, ok := v.(Duration); ok {
		v = time.Duration(d).String()
	}
	b, err := toml.Marshal(map[string]any{"k": v})
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(strings.TrimPrefix(string(b), "k = ")), nil
}

// withoutPassword hides the passwords of the URLs in a value.
func withoutPassword(value string) string {
	words := strings.FieldsFunc(value, func(r rune) bool { return strings.ContainsRune(`'", []`, r) })
	for _, word := range slices.Compact(words) {
		if u, err := url.Parse(word); err == nil && u.User != nil {
			value = strings.ReplaceAll(value, word, u.Redacted())
		}
	}
	return value
}
