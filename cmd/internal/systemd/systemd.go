// Package systemd is the node's manners as a service: it tells the service
// manager how it is, and takes over sockets that were opened for it
// (sd_notify(3), sd_listen_fds(3)). Without systemd all of it does nothing.
package systemd

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// notify sends a state. Who runs the service decides whether it listens: a
// failure is nothing the node could do something about.
func notify(lines ...string) {
	_, _ = daemon.SdNotify(false, strings.Join(lines, "\n"))
}

// Ready says that the node serves, or serves again after Reloading.
func Ready(status string) { notify(daemon.SdNotifyReady, "STATUS="+oneLine(status)) }

// Reloading says that the configuration is read anew; Ready follows.
func Reloading() {
	var now unix.Timespec
	// CLOCK_MONOTONIC always works on Linux.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &now)
	notify(daemon.SdNotifyReloading, fmt.Sprintf("MONOTONIC_USEC=%d", now.Nano()/1000), "STATUS=reading the configuration")
}

// Status says in a line what the node does.
func Status(status string) { notify("STATUS=" + oneLine(status)) }

// Stopping says that the node ends, and asks for as long as that may take:
// TimeoutStopSec= need not know about it.
func Stopping(status string, atMost time.Duration) {
	notify(daemon.SdNotifyStopping, "STATUS="+oneLine(status), fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", atMost.Microseconds()))
}

func oneLine(s string) string { return strings.ReplaceAll(s, "\n", " ") }

// Watchdog tells the service manager that the node is alive as often as it
// wants to know (WatchdogSec=), as long as alive returns no error in that time;
// failed gets the error. It blocks until ctx ends, and returns at once where
// nobody watches.
func Watchdog(ctx context.Context, alive func(context.Context) error, failed func(error)) {
	within, err := daemon.SdWatchdogEnabled(false)
	if err != nil || within == 0 {
		return
	}
	ticker := time.NewTicker(within / 3)
	defer ticker.Stop()
	for {
		check, cancel := context.WithTimeout(ctx, within/3)
		err := alive(check)
		cancel()
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			failed(err)
		default:
			notify(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// Listeners returns the sockets that the service manager opened, by the names
// of their units (FileDescriptorName=). They are the caller's to close. The
// environment forgets them: children must not take them for theirs.
func Listeners() (map[string][]net.Listener, error) {
	files := activation.Files(true)
	all := make(map[string][]net.Listener)
	for _, f := range files {
		ln, err := net.FileListener(f)
		name := f.Name()
		f.Close() // the listener has a copy
		if err != nil {
			CloseAll(all)
			return nil, fmt.Errorf("socket %s of the service manager: %w", name, err)
		}
		all[name] = append(all[name], ln)
	}
	return all, nil
}

// CloseAll closes listeners.
func CloseAll(all map[string][]net.Listener) {
	for _, list := range all {
		for _, ln := range list {
			ln.Close()
		}
	}
}

// WritePID writes the process's id to vnode.pid in the unit's RuntimeDirectory=,
// for tools that look for one; systemd itself needs none. remove takes it away
// again. Without such a directory nothing is written.
func WritePID() (remove func(), err error) {
	dir, _, _ := strings.Cut(os.Getenv("RUNTIME_DIRECTORY"), ":")
	if dir == "" {
		return func() {}, nil
	}
	path := filepath.Join(dir, "vnode.pid")
	if err := os.WriteFile(path, []byte(strconv.Itoa(os.Getpid())+"\n"), 0o644); err != nil {
		return nil, fmt.Errorf("pid file: %w", err)
	}
	return func() { _ = os.Remove(path) }, nil // systemd removes the directory itself
}

// Active reports whether a service manager listens.
func Active() bool { return os.Getenv("NOTIFY_SOCKET") != "" }
