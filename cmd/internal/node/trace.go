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
func trace(log *slog.Logger, what string, st *wire.Stanza) {
	log.Log(context.Background(), logging.Trace, what, "session", st.From.String(), "room", st.To.Bare().String(),
		"stanza", string(st.Name), "type", string(st.Type), "id", string(st.ID), "bytes", len(st.Raw))
}
