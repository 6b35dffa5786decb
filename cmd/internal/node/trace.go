package node

import (
	"context"
	"log/slog"

	"vnode/cmd/internal/logging"
	"vnode/internal/wire"
)

// trace tells of a stanza that goes to a room, without its content: only for
// rooms and sessions that are logged in every detail. Callers look first whether
// there are any, which costs two loads.
func trace(log *slog.Logger, what, session string, to wire.JID, h *wire.Header, size int) {
	log.Log(context.Background(), logging.Trace, what, "session", session, "room", to.Bare().String(),
		"stanza", string(h.Name), "type", string(h.Type), "id", string(h.ID), "bytes", size)
}
