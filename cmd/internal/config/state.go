package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// StateDirectory is where the node keeps its own things: StateDir, else what
// systemd made for the unit, else a place that belongs to whoever runs this.
func (c *Config) StateDirectory() (string, error) {
	if c.StateDir != "" {
		return c.StateDir, nil
	}
	node := string(c.ID)
	// systemd names the directory it made for the unit; several separated
	// by colons. It may be of all nodes, or of this one.
	if dir, _, _ := strings.Cut(os.Getenv("STATE_DIRECTORY"), ":"); filepath.Base(dir) == node {
		return dir, nil
	} else if dir != "" {
		return filepath.Join(dir, node), nil
	}
	if os.Geteuid() == 0 {
		return filepath.Join("/var/lib/vnode", node), nil
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "vnode", node), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("state directory: %w; name one with -state-dir", err)
	}
	return filepath.Join(home, ".local/state/vnode", node), nil
}
