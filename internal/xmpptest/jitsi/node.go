package jitsi

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"vnode/internal/port"
	"vnode/internal/xmpptest/process"
)

// Build makes the vnode program in dir and returns its path.
func Build(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "vnode")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "vnode/cmd/vnode").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build vnode: %w\n%s", err, out)
	}
	return path, nil
}

// firstPorts holds four rows of n ports each until the end of the test, and
// returns the port before each: what vnode setup calls -first-ports.
func firstPorts(t T, n int) (first [4]int) {
	t.Helper()
	row, err := port.HoldRow(len(first)*n, 20000, 30000) // connections are given higher ones
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() {
		if err := row.Close(); err != nil {
			t.Errorf("release ports: %v", err)
		}
	})
	for i := range first {
		first[i] = int(row[i*n].Addr().Port()) - 1
	}
	return first
}

// SetUp runs `vnode setup` on the installation, with the ports of main and some
// that are held for n nodes until the end of the test, and returns what it
// wrote. The test fails at once if that does not work.
func (r *Root) SetUp(t T, program string, n int, args ...string) string {
	t.Helper()
	first := firstPorts(t, n)
	all := append([]string{"setup", "-prefix", r.Dir, "-nodes", fmt.Sprint(n), "-binary", program, "-main-s2s", r.S2S().String(),
		"-first-ports", fmt.Sprintf("%d,%d,%d,%d", first[0], first[1], first[2], first[3])}, args...)
	out, err := exec.CommandContext(t.Context(), program, all...).CombinedOutput()
	if err != nil {
		t.Fatalf("vnode %s: %v\n%s", strings.Join(all, " "), err, out)
	}
	return string(out)
}

// RunNode starts a node as the unit that set-up has written would: with its
// ExecStart, for the instance id, and with its credentials. It waits until the
// node listens.
func (r *Root) RunNode(t T, id string) *process.Process {
	t.Helper()
	unit := r.Path("etc/systemd/system/vnode@.service")
	u, err := readUnit(unit, unit+".d/setup.conf")
	if err != nil {
		t.Fatalf("unit: %v", err)
	}
	credentials := t.TempDir()
	for name, path := range u.credentials {
		secret, err := os.ReadFile(path)
		if err != nil {
			t.Fatalf("LoadCredential: %v", err)
		}
		if err := os.WriteFile(filepath.Join(credentials, name), secret, 0o400); err != nil {
			t.Fatalf("LoadCredential: %v", err)
		}
	}
	args := strings.Fields(u.execStart)
	for i, a := range args {
		args[i] = strings.NewReplacer("%i", id, "$DAEMON_OPTS", "").Replace(a)
	}
	args = slices.DeleteFunc(args, func(a string) bool { return a == "" })
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH")}
	for _, variable := range u.environment {
		cmd.Env = append(cmd.Env, strings.ReplaceAll(variable, "/run/credentials/%n", credentials))
	}
	p := process.Run(t, id, cmd)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	// The last line of what a node says of itself: it listens then.
	if err := p.WaitLog(ctx, "s2s_whitelist"); err != nil {
		t.Fatalf("%v", err)
	}
	return p
}

// unit is what matters here of a unit of systemd.
type unit struct {
	execStart   string
	environment []string
	credentials map[string]string // name to path
}

// readUnit reads a unit and its drop-ins.
func readUnit(paths ...string) (unit, error) {
	u := unit{credentials: map[string]string{}}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			return unit{}, err
		}
		for line := range strings.Lines(string(text)) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			switch key {
			case "ExecStart":
				u.execStart = value
			case "Environment":
				u.environment = append(u.environment, value)
			case "LoadCredential":
				name, from, _ := strings.Cut(value, ":")
				u.credentials[name] = from
			}
		}
	}
	if u.execStart == "" {
		return unit{}, fmt.Errorf("%v has no ExecStart", paths)
	}
	return u, nil
}
