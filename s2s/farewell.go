package s2s

import (
	"crypto/tls"
	"io"
	"time"

	"vnode/internal/wire"
)

// finish says what is left to say, gives the pairs back and closes the
// connection. The reader calls it once, after end.
func (st *stream) finish() *ending {
	st.mu.Lock()
	e, wasReady, carries, linked := st.ended, st.isReady, st.carries, st.linked
	st.mu.Unlock()
	for _, peer := range linked {
		st.srv.linked(peer, -1)
	}
	if wasReady {
		<-st.written
		st.settle(e)
		for _, p := range carries {
			p.detach(st)
		}
	} else if bye := st.farewell(e); len(bye) > 0 {
		st.write(bye, st.cfg.CloseTimeout)
	}
	st.hangUp(e)
	st.srv.remove(st, wasReady)
	m := st.srv.m
	if wasReady {
		m.streams[st.dir][ready].Dec()
	} else {
		m.streams[st.dir][negotiating].Dec()
	}
	m.closed[st.dir][e.reason].Inc()
	if wasReady {
		st.log.Info("stream ended", "reason", e.reason, "error", e)
	}
	return e
}

func (st *stream) ending() *ending {
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.ended
}

// farewell is the last that is written: our header if it is still missing, what
// we have handled if the peer wants to know (after a loss it may only have
// stopped to write), the error if there is one, the end.
func (st *stream) farewell(e *ending) []byte {
	var b []byte
	if st.counting.Load() && e.reason != Stalled {
		b = smAck(b, st.in.Load())
	}
	if st.mute || e.reason == Lost || e.reason == Stalled || st.dir == outbound && !st.opened {
		return b
	}
	if !st.opened {
		if st.local == "" {
			st.local = st.cfg.anyHost() // RFC 6120 §4.7.1: an answer has a from
		}
		b = st.appendHeader(b)
	}
	if e.tell.Condition != "" {
		b = e.tell.Append(b, false)
	}
	return append(b, streamEnd...)
}

// hangUp closes the connection. After an error it first waits a moment for the
// peer to close: closing with input unread resets the connection, and the peer
// might never see what was wrong.
func (st *stream) hangUp(e *ending) {
	if e.reason == Lost || e.reason == Stalled {
		st.raw.Close()
		return
	}
	half, ok := st.raw.(interface{ CloseWrite() error })
	if ok && e.tell.Condition != "" {
		if t, ok := st.conn.(*tls.Conn); ok {
			t.CloseWrite()
		}
		half.CloseWrite()
		st.raw.SetReadDeadline(time.Now().Add(lingerAfterError))
		io.CopyN(io.Discard, st.raw, maxLingerBytes)
	}
	st.conn.Close()
}

// appendHeader appends our stream header. An initiator sends no id (RFC 6120
// §4.7.3).
func (st *stream) appendHeader(b []byte) []byte {
	h := wire.StreamHeader{Content: wire.NSServer, From: st.local, To: st.remote, ID: st.id, Version: "1.0", Lang: "en"}
	return h.Append(b, dialbackDeclared)
}
