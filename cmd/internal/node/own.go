package node

import (
	"crypto/tls"
	"fmt"

	"vnode/cmd/internal/config"
	"vnode/cmd/internal/state"
)

// openState finds the node's state directory.
func openState(c *config.Config) (state.Directory, error) {
	path, err := c.StateDirectory()
	if err != nil {
		return "", err
	}
	return state.Open(path)
}

// certificate is the configured certificate, or the node's own.
func (n *Node) certificate(c *config.Config) (tls.Certificate, error) {
	if c.CertificateFile == "" {
		return n.state.Certificate([]string{c.Host(), c.Rooms(), c.AuthDomain})
	}
	cert, err := tls.LoadX509KeyPair(c.CertificateFile, c.KeyFile)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("certificate-file %s: %w", c.CertificateFile, err)
	}
	return cert, nil
}

// focusPassword is the configured focus password, or the node's own, and where it is
// from.
func (n *Node) focusPassword(c *config.Config) (password, from string, err error) {
	switch {
	case c.FocusPasswordFile != "":
		password, err = state.Secret(c.FocusPasswordFile)
		return password, c.FocusPasswordFile, err
	case c.FocusPassword != "":
		return c.FocusPassword, "the environment", nil
	}
	password, err = n.state.FocusPassword()
	return password, n.state.FocusPasswordFile(), err
}

// operatorsToken is the configured token of operators, or the node's own.
func (n *Node) operatorsToken(file string) (token string, err error) {
	if file == "" {
		if token, err = n.state.AdminToken(); err != nil {
			return "", fmt.Errorf("admin token: %w", err)
		}
		return token, nil
	}
	if token, err = state.Secret(file); err != nil {
		return "", fmt.Errorf("admin-token-file: %w", err)
	}
	return token, nil
}
