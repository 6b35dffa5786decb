package config

import (
	"cmp"
	"encoding"
	"errors"
	"flag"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// setting is one key of Config, reachable by all three names.
type setting struct {
	key    string
	usage  string
	reload reloading
	value  reflect.Value
}

// Load reads the configuration: the default, the file named by -config or
// VNODE_CONFIG, the environment, and args over each other. flags receives
// the flags and is parsed; its usage is the caller's. The error is
// [flag.ErrHelp] after -help, and otherwise says what to change.
func Load(flags *flag.FlagSet, args []string, environ func(string) (string, bool)) (*Config, error) {
	c := &Config{from: origins{}}
	if err := decode(c, Default); err != nil {
		return nil, fmt.Errorf("built-in default: %w", err)
	}
	given := map[string]string{}
	file := flags.String("config", "", "configuration `file`, TOML")
	for _, s := range c.settings() {
		take := func(v string) error {
			given[s.key] = v
			return nil
		}
		if s.isBool() {
			flags.BoolFunc(s.key, s.usage, take)
			continue
		}
		flags.Func(s.key, s.usage, take)
	}
	if err := ParseFlags(flags, args); err != nil {
		return nil, err
	}
	if rest := flags.Args(); len(rest) > 0 {
		return nil, fmt.Errorf("unexpected argument %q: flags begin with a dash, such as -id 3", rest[0])
	}
	path := *file
	if path == "" {
		path, _ = environ("VNODE_CONFIG")
	}
	if path != "" {
		if err := c.readFile(path); err != nil {
			return nil, err
		}
	}
	env := environment(environ)
	docker, err := env.docker()
	if err != nil {
		return nil, err
	}
	c.FocusPassword, c.TURNSecret, c.TURNPassword = env.secret("focus-password-file"), env.secret("turn-secret-file"), env.secret("turn-password-file")
	for _, s := range c.settings() {
		if v, ok := docker[s.key]; ok {
			if err := s.set(v); err != nil {
				return nil, fmt.Errorf("%s: %w", strings.Join(DockerNames(s.key), ", "), err)
			}
			c.from[s.key] = env.setOf(DockerNames(s.key))
		}
		if v, ok := environ(EnvName(s.key)); ok && !ofKubernetes(EnvName(s.key), v) && (v != "" || s.mayBeEmpty()) {
			if err := s.set(v); err != nil {
				return nil, fmt.Errorf("%s: %w", EnvName(s.key), err)
			}
			c.from[s.key] = EnvName(s.key)
		}
		if v, ok := given[s.key]; ok {
			if err := s.set(v); err != nil {
				return nil, fmt.Errorf("-%s: %w", s.key, err)
			}
			c.from[s.key] = "-" + s.key
		}
	}
	c.complete()
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c.Warnings = append(env.warnings(), c.warnings()...)
	if env.inContainer() && c.FocusPassword == "" && c.FocusPasswordFile == "" {
		c.Warnings = append(c.Warnings, Warning{"JICOFO_AUTH_PASSWORD", "is not set: the node makes a password of its own, which jicofo must be told"})
	}
	return c, nil
}

// EnvName is the environment variable of a key: VNODE_MAIN_DOMAIN.
func EnvName(key string) string {
	return "VNODE_" + strings.ToUpper(strings.ReplaceAll(key, "-", "_"))
}

// DockerNames are the variables of docker-jitsi-meet that a key is taken from.
func DockerNames(key string) []string {
	if name, ok := dockerSecrets[key]; ok {
		return []string{name}
	}
	return append(slices.Clone(dockerNames[key]), dockerComposed[key]...)
}

// Check reports everything that is wrong with a configuration file, over the
// default alone.
func Check(path string) error {
	c := new(Config)
	if err := decode(c, Default); err != nil {
		return fmt.Errorf("built-in default: %w", err)
	}
	if err := c.readFile(path); err != nil {
		return err
	}
	c.complete()
	if err := c.Validate(); err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	return nil
}

func (c *Config) readFile(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	if err := decode(c, string(b)); err != nil {
		return fmt.Errorf("configuration %s: %w", path, err)
	}
	if c.from != nil {
		c.from.note(path, strings.TrimPrefix(string(b), "\ufeff"))
	}
	return nil
}

func decode(c *Config, text string) error {
	text = strings.TrimPrefix(text, "\ufeff") // some editors write a byte order mark
	d := toml.NewDecoder(strings.NewReader(text)).DisallowUnknownFields()
	err := d.Decode(c)
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) {
		var errs []error
		for i := range unknown.Errors {
			e := &unknown.Errors[i]
			row, _ := e.Position()
			key := strings.Join(e.Key(), ".")
			errs = append(errs, fmt.Errorf("line %d: unknown key %q; the nearest is %q", row, key, nearest(key)))
		}
		return errors.Join(errs...)
	}
	var syntax *toml.DecodeError
	if errors.As(err, &syntax) {
		row, column := syntax.Position()
		if s, ok := c.settingOf(text, row); ok && strings.Contains(err.Error(), "cannot decode") {
			return fmt.Errorf("line %d: %s must be %s", row, s.key, s.kind())
		} else if ok {
			return fmt.Errorf("line %d: %s: %s", row, s.key, strings.TrimPrefix(err.Error(), "toml: "))
		}
		return fmt.Errorf("line %d, column %d: %w", row, column, err)
	}
	return err
}

// settingOf returns the setting that a line of a configuration file is about.
func (c *Config) settingOf(text string, row int) (setting, bool) {
	lines := strings.Split(text, "\n")
	if row < 1 || row > len(lines) {
		return setting{}, false
	}
	key, _, _ := strings.Cut(lines[row-1], "=")
	for _, s := range c.settings() {
		if s.key == strings.TrimSpace(key) {
			return s, true
		}
	}
	return setting{}, false
}

// kind says in words what a value in a configuration file must be.
func (s setting) kind() string {
	switch s.value.Kind() {
	case reflect.Bool:
		return "true or false, without quotes"
	case reflect.Int, reflect.Float64:
		return "a number, without quotes"
	case reflect.Slice:
		return `a list of texts, such as ["a", "b"]`
	}
	return "a text, in quotes"
}

// UnmarshalText takes the id as a number or as text, in TOML with or without
// quotes.
func (id *ID) UnmarshalText(text []byte) error {
	v := string(text)
	if v == "" {
		return errors.New("is empty; give the node's id, such as 3")
	}
	if _, err := strconv.ParseUint(v, 10, 16); err == nil {
		v = "v" + v
	}
	*id = ID(v)
	return nil
}

// backquoted makes of a usage what package flag wants, which no tag can hold.
var backquoted = strings.NewReplacer("{", "`", "}", "`")

// settings lists the keys in the order in which --help shows them.
func (c *Config) settings() (list []setting) {
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		tag := v.Type().Field(i).Tag
		if usage, ok := tag.Lookup("usage"); ok {
			list = append(list, setting{tag.Get("toml"), backquoted.Replace(usage), reloading(tag.Get("reload")), v.Field(i)})
		}
	}
	return list
}

// set takes a value as a flag or the environment gives it.
func (s setting) set(v string) error {
	switch p := s.value.Addr().Interface().(type) {
	case encoding.TextUnmarshaler:
		return p.UnmarshalText([]byte(v))
	case *string:
		*p = v
	case *int:
		n, err := strconv.Atoi(v)
		if err != nil {
			return fmt.Errorf("%q is not a number", v)
		}
		*p = n
	case *float64:
		f, err := strconv.ParseFloat(v, 64)
		if err != nil {
			return fmt.Errorf("%q is not a number", v)
		}
		*p = f
	case *bool:
		b, err := parseBool(v)
		if err != nil {
			return err
		}
		*p = b
	case *[]string:
		*p = nil
		for part := range strings.SplitSeq(v, ",") {
			if part = strings.TrimSpace(part); part != "" {
				*p = append(*p, part)
			}
		}
	default:
		panic("config: no way to set " + s.key)
	}
	return nil
}

// mayBeEmpty reports whether an empty text is a value. Compose files pass variables
// on that are not set, as empty texts.
func (s setting) mayBeEmpty() bool {
	return s.value.Kind() == reflect.String && s.key != "id" || s.value.Kind() == reflect.Slice
}

// isBool reports whether the setting is a truth value, whose flag needs no value.
func (s setting) isBool() bool { return s.value.Kind() == reflect.Bool }

// Keys returns the names of all settings, in the order in which --help shows them.
func Keys() (keys []string) {
	for _, s := range new(Config).settings() {
		keys = append(keys, s.key)
	}
	return keys
}

// nearest returns the known key most like the given one.
func nearest(key string) string {
	return Nearest(key, Keys())
}

// Nearest returns the name most like the given one; of several the one that begins
// most like it.
func Nearest(name string, known []string) string {
	return slices.MinFunc(known, func(a, b string) int {
		return cmp.Or(distance(name, a)-distance(name, b), common(name, b)-common(name, a))
	})
}

// common is how many bytes two names have in common at their beginning.
func common(a, b string) (n int) {
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		previous := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := previous
			if a[i] != b[j] {
				cost++
			}
			previous = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
