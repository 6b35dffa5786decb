package s2s

import (
	"bytes"

	"vnode/internal/guard"
	"vnode/internal/wire"
)

// A panic while a stream is served ends that stream, as a lost connection does: what
// waits for its peer goes out on the next one.

// fault is what becomes of a panic.
type fault struct {
	err    *error
	reader *stream // whose reader met it; nil for others, which have no stanza in hand
}

// Doing implements [guard.Met].
func (f *fault) Doing() (string, int) {
	if f.reader == nil || f.reader.doing == nil {
		return "", 0
	}
	elem := f.reader.doing
	for _, name := range []string{"message", "presence", "iq"} {
		if bytes.HasPrefix(elem, []byte("<"+name)) {
			return name, len(elem)
		}
	}
	return "element", len(elem) // of the stream, or one with a prefix
}

// Panicked implements [guard.Met].
func (f *fault) Panicked() {
	*f.err = refuse(Panicked, wire.InternalServerError, "")
}

// guarded does something for the stream; a panic is an error that ends it.
func (st *stream) guarded(do func() error) (err error) {
	defer st.srv.guard.Recover(guard.Stream, &fault{err: &err})
	return do()
}

// guardedReading is guarded for the reader of a ready stream.
func (st *stream) guardedReading() (err error) {
	defer st.srv.guard.Recover(guard.Stream, &fault{err: &err, reader: st})
	return st.readLoop()
}
