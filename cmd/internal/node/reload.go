package node

import (
	"context"
	"fmt"

	"vnode/cmd/internal/config"
	"vnode/cmd/internal/systemd"
)

// reloadable are the keys that take effect without a restart.
var reloadable = append([]string{
	"certificate-file", "key-file", "s2s-trust", "s2s-trusted-addresses", "s2s-ca-file", "s2s-pins", "main-s2s", "log-level",
	"max-visitors-per-room", "max-visitors", "max-rooms", "join-rate", "leave-rate", "presence-rate", "presence-burst",
	"chat-audience", "chat-rate", "chat-burst", "room-chat-rate", "room-chat-burst", "chat-slow-mode", "main-rate", "main-burst",
	"drain-timeout", "drain-spread", "accounts-file", "other-nodes", "ready-without-jicofo",
}, tokenSettings...)

// tokenSettings take effect while tokens were, and are still, asked for.
var tokenSettings = []string{
	"token-key-file", "token-keys-url", "token-key-server", "token-algorithms", "token-issuers", "token-audiences",
	"token-optional", "token-room-optional", "token-any-tenant", "token-leeway",
}

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
	next := *old
	next.CertificateFile, next.KeyFile = c.CertificateFile, c.KeyFile
	next.S2STrust, next.S2STrustedAddresses = c.S2STrust, c.S2STrustedAddresses
	next.S2SCAFile, next.S2SPins, next.MainS2S = c.S2SCAFile, c.S2SPins, c.MainS2S
	next.LogLevel = c.LogLevel
	next.DrainTimeout, next.DrainSpread = c.DrainTimeout, c.DrainSpread
	next.OtherNodes, next.ReadyWithoutJicofo = c.OtherNodes, c.ReadyWithoutJicofo
	takeRoomLimits(&next, c)
	cert, err := n.state.certificate(&next)
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
	var applied, waiting []string
	for _, key := range old.Changed(c) {
		if n.waitsForRestart(key, c) {
			waiting = append(waiting, key)
		} else {
			applied = append(applied, key)
		}
	}
	n.log.Info("configuration reloaded", "changed", applied, "certificate_expires", cert.Leaf.NotAfter)
	if len(waiting) > 0 {
		n.log.Warn("a restart is needed for some changes", "keys", waiting)
	}
	return nil
}

func takeRoomLimits(next, c *config.Config) {
	next.MaxVisitorsPerRoom, next.MaxVisitors, next.MaxRooms = c.MaxVisitorsPerRoom, c.MaxVisitors, c.MaxRooms
	next.JoinRate, next.LeaveRate = c.JoinRate, c.LeaveRate
	next.PresenceRate, next.PresenceBurst = c.PresenceRate, c.PresenceBurst
	next.ChatAudience, next.ChatSlowMode = c.ChatAudience, c.ChatSlowMode
	next.ChatRate, next.ChatBurst = c.ChatRate, c.ChatBurst
	next.RoomChatRate, next.RoomChatBurst = c.RoomChatRate, c.RoomChatBurst
	next.MainRate, next.MainBurst = c.MainRate, c.MainBurst
}
