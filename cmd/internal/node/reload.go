package node

import (
	"context"
	"fmt"

	"vnode/cmd/internal/config"
	"vnode/cmd/internal/systemd"
)

// Reload applies a new, valid configuration as far as a running node can, and
// logs what changed and what waits for a restart. Certificates, CAs, accounts
// and the keys of tokens are read again even when no key changed. Streams that
// are up stay up, and who is logged in stays so. On an error nothing has changed.
// One call at a time.
func (n *Node) Reload(c *config.Config) (err error) {
	systemd.Reloading()
	defer func() {
		n.metrics.reloaded(err == nil)
		systemd.Ready(n.status(context.Background()))
	}()
	old := n.cfg.Load()
	next, applied, waiting := old.Reload(c, n.tokens != nil && c.Tokens())
	cert, err := n.certificate(&next)
	if err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	federation, err := n.s2sConfig(&next)
	if err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	login, err := n.readCredentials(&next, c)
	if err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	limits := roomLimits(&next)
	if err := limits.Validate(); err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	if err := n.federation.Reload(federation); err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	if now := n.rooms.Limits(); now != n.configured {
		n.log.Warn("limits that an operator changed are as configured again", "were", fmt.Sprintf("%+v", now))
	}
	if err := n.rooms.SetLimits(limits); err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	n.configured = n.rooms.Limits()
	if err := n.replaceCredentials(login); err != nil {
		return fmt.Errorf("reload: %w", err)
	}
	n.cert.Store(&cert)
	n.level.Set(next.Level())
	n.cfg.Store(&next)
	n.log.Info("configuration reloaded", "changed", applied, "certificate_expires", cert.Leaf.NotAfter)
	if len(waiting) > 0 {
		n.log.Warn("a restart is needed for some changes", "keys", waiting)
	}
	return nil
}
