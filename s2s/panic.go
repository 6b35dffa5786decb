package s2s

import (
	"vnode/internal/guard"
	"vnode/internal/wire"
)

// A panic while a stream is served ends that stream, as a lost connection does: what
// waits for its peer goes out on the next one.

// fault is a stream whose goroutine may meet a panic; err is what becomes of it.
type fault struct {
	st  *stream
	err *error
}

// Doing implements [guard.Met].
func (f *fault) Doing() (string, int) {
	if f.st.doing == nil {
		return "", 0
	}
	return string(f.st.doing.Name), len(f.st.doing.Raw)
}

// Panicked implements [guard.Met].
func (f *fault) Panicked() {
	*f.err = refuse(Panicked, wire.InternalServerError, "")
}

// guarded does something for the stream; a panic is an error that ends it.
func (st *stream) guarded(do func() error) (err error) {
	defer st.srv.guard.Recover(guard.Stream, &fault{st, &err})
	return do()
}
