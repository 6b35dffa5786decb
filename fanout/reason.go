package fanout

// Reason says why a session's output ended. The package that owns the session
// passes its own reasons through Close and Abort; the ones below are found
// here. A Reason is a metric label: a closed set, lower-case words joined by
// underscores.
type Reason string

const (
	// SlowConsumer: the client lags behind what the room's log keeps, or
	// more than MaxPrivate bytes wait for it.
	SlowConsumer Reason = "slow_consumer"
	// Stalled: the connection took no byte for StallTimeout.
	Stalled Reason = "stalled"
	// WriteFailed: the connection is broken.
	WriteFailed Reason = "write_failed"
	// Panicked: the session met a fault of the program.
	Panicked Reason = "internal_server_error"
	// BroadcasterClosed: Broadcaster.Close found the session still open.
	BroadcasterClosed Reason = "broadcaster_closed"
)
