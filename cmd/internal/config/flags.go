package config

import (
	"flag"
	"fmt"
	"strconv"
	"strings"
)

// ParseFlags is flags.Parse for all commands. A misspelt flag is refused with the
// nearest one. The value of a truth value may follow as an argument of its own, as
// the values of other flags do; nothing else may stand there.
func ParseFlags(flags *flag.FlagSet, args []string) error {
	var names []string
	bools := map[string]bool{}
	flags.VisitAll(func(f *flag.Flag) {
		names = append(names, f.Name)
		b, ok := f.Value.(interface{ IsBoolFlag() bool })
		bools[f.Name] = ok && b.IsBoolFlag()
	})
	err := flags.Parse(joinBools(args, bools))
	if err == nil {
		return nil
	}
	var word, of string
	if n, _ := fmt.Sscanf(err.Error(), "invalid boolean value %q for -%s", &word, &of); n == 2 {
		return fmt.Errorf("-%s: %q is neither true nor false", strings.TrimSuffix(of, ":"), word)
	}
	name, unknown := strings.CutPrefix(err.Error(), "flag provided but not defined: -")
	if !unknown {
		return err
	}
	return fmt.Errorf("unknown flag -%s; the nearest is -%s", name, Nearest(name, names))
}

func joinBools(args []string, bools map[string]bool) []string {
	var joined []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			return append(joined, args[i:]...)
		}
		key, value, given := strings.Cut(strings.TrimLeft(a, "-"), "=")
		switch {
		case !strings.HasPrefix(a, "-") || !bools[key]:
		case given:
			a = "-" + key + "=" + truth(value)
		case i+1 < len(args) && !strings.HasPrefix(args[i+1], "-"):
			i++
			a = "-" + key + "=" + truth(args[i])
		}
		joined = append(joined, a)
	}
	return joined
}

// truth is a word for yes or no as package strconv knows it; others stay as they are.
func truth(word string) string {
	switch strings.ToLower(word) {
	case "yes", "on", "y":
		return "true"
	case "no", "off", "n":
		return "false"
	}
	return word
}

func parseBool(v string) (bool, error) {
	b, err := strconv.ParseBool(truth(v))
	if err != nil {
		return false, fmt.Errorf("%q is neither true nor false", v)
	}
	return b, nil
}
