package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Warning says of a name, that of a key or a variable, what does not happen.
type Warning struct{ Name, Text string }

// validateTURN looks at what TURN servers are told to want.
func (c *Config) validateTURN(bad func(key, format string, args ...any)) {
	if c.TURNTTL != 0 && (time.Duration(c.TURNTTL) < time.Minute || time.Duration(c.TURNTTL)%time.Second != 0) {
		bad("turn-ttl", "%s is not a number of whole seconds, 60 or more", time.Duration(c.TURNTTL))
	}
	if c.TURNSecretFile != "" || c.TURNSecret != "" {
		return // it wins, as on a visitor prosody
	}
	if (c.TURNUsername == "") != (c.TURNPasswordFile == "" && c.TURNPassword == "") {
		bad("turn-username", "it and turn-password-file go together: set both or neither")
	}
}

// warnings are those of the configuration as it is in force.
func (c *Config) warnings() []Warning {
	var list []Warning
	services, _ := c.ExternalServices() // Validate has seen them
	turn := slices.ContainsFunc(services, func(s ExternalService) bool { return strings.HasPrefix(s.Type, "turn") })
	if turn && c.TURNSecretFile == "" && c.TURNSecret == "" && c.TURNUsername == "" {
		list = append(list, Warning{"turn-services", "has TURN servers, but there are no credentials for them, which most want; " +
			"set turn-secret-file (TURN_CREDENTIALS), or turn-username with turn-password-file (TURN_USERNAME, TURN_PASSWORD)"})
	}
	return list
}

// kubernetesNames are the variables that Kubernetes sets in a pod for a service
// called vnode, or vnode-something.
var kubernetesNames = regexp.MustCompile(`^VNODE_([A-Z0-9_]+_)?(SERVICE_HOST|SERVICE_PORT(_[A-Z0-9_]+)?|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)$`)

// ofKubernetes reports whether a variable was set by Kubernetes, not for us: one
// of its values has the name of our port, and any NAME_PORT an address.
func ofKubernetes(name, value string) bool {
	if !kubernetesNames.MatchString(name) {
		return false
	}
	address := strings.HasSuffix(name, "_PORT") && !strings.HasSuffix(name, "_SERVICE_PORT") && !strings.HasSuffix(name, "_TCP_PORT") && !strings.HasSuffix(name, "_UDP_PORT")
	return !address || strings.Contains(value, "://")
}

// CheckNames refuses variables that begin with VNODE_ and are no setting. environ
// is what [os.Environ] returns. The error names the nearest.
func CheckNames(environ []string) error {
	known := []string{"VNODE_CONFIG"}
	for _, key := range Keys() {
		known = append(known, EnvName(key))
	}
	for _, entry := range environ {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, "VNODE_") || slices.Contains(known, name) || ofKubernetes(name, value) {
			continue
		}
		return fmt.Errorf("unknown variable %s; the nearest is %s", name, Nearest(name, known))
	}
	return nil
}
