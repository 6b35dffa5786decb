package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"vnode/internal/child"
)

// program returns the node's program, built unless one was named.
func (s *stage) program(ctx context.Context) (string, error) {
	if s.vnode != "" {
		return s.vnode, nil
	}
	s.say("building the node")
	path := filepath.Join(s.dir, "vnode")
	out, err := exec.CommandContext(ctx, "go", "build", "-o", path, "vnode/cmd/vnode").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build the node: %w\n%s", err, out)
	}
	return path, nil
}

// startNode runs the node and waits until it listens. It returns the focus's
// password there.
func (s *stage) startNode(ctx context.Context, program string, main mainSide) (string, error) {
	// Again: a second demo may have come up while this one was building.
	if err := checkPorts(s.options); err != nil {
		return "", err
	}
	password := rand.Text()
	secret := filepath.Join(s.dir, "focus-password")
	if err := os.WriteFile(secret, []byte(password+"\n"), 0o600); err != nil {
		return "", err
	}
	node, err := child.Start(child.Command{Program: program, Log: filepath.Join(s.dir, "vnode.log"), Args: []string{
		"-id", nodeID, "-port", strconv.Itoa(s.port),
		"-main-domain", mainDomain, "-main-s2s", main.s2sAddr(),
		"-c2s", s.c2s, "-http", s.http, "-admin", "127.0.0.1:0",
		"-state-dir", filepath.Join(s.dir, "state"), "-focus-password-file", secret,
	}})
	if err != nil {
		return "", err
	}
	s.node = node
	s.later(node.Stop)
	s.say("node %s is process %d: vnode -id %s -port %d", nodeDomain, node.PID(), nodeID, s.port)
	for _, addr := range []string{s.s2sAddr(), s.c2s, s.http} {
		if err := node.Listens(ctx, "tcp", addr); err != nil {
			return "", err
		}
	}
	return password, nil
}

// s2sAddr is where main finds the node.
func (s *stage) s2sAddr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }
