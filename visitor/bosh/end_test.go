package bosh

import (
	"crypto/sha1"
	"encoding/hex"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/internal/wire"
)

func TestInactivity(t *testing.T) {
	t.Run("ends a session", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin()
			start := time.Now()
			s.expectError(ErrInactive)
			require.Equal(t, time.Minute, time.Since(start))
			require.NoError(t, s.conn.Close())
			require.Equal(t, ended("item-not-found", ""), s.send("", "").answer())
		})
	})
	t.Run("counts from the last connection", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin()
			c := s.send("", "")
			time.Sleep(50 * time.Second)
			c.hangUp()
			start := time.Now()
			s.expect(Poll, "")
			s.expectError(ErrInactive)
			require.Equal(t, time.Minute, time.Since(start))
		})
	})
	t.Run("is longer after a pause", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin()
			held := s.send("", "")
			start := time.Now()
			require.Equal(t, s.with(""), s.send(" pause='120'", "").answer())
			require.Equal(t, s.with(""), held.answer())
			require.Equal(t, start, time.Now())
			time.Sleep(119 * time.Second)
			s.write(pong)
			require.Equal(t, s.with(pong), s.send("", "").answer())
			start = time.Now()
			s.expect(Poll, "")
			s.expectError(ErrInactive)
			require.Equal(t, time.Minute, time.Since(start))
		})
	})
}

func TestKeys(t *testing.T) {
	hash := func(s string) string {
		sum := sha1.Sum([]byte(s))
		return hex.EncodeToString(sum[:])
	}
	k3, k2, k1 := hash(hash(hash("seed"))), hash(hash("seed")), hash("seed")
	inBubble(t, Config{}, func(t *testing.T, h *house) {
		s := h.begin("hold='1'", "hold='1' newkey='"+k3+"'")
		s.write(pong)
		require.Equal(t, s.with(pong), s.send(" key='"+k2+"'", "").answer())
		s.write(pong)
		require.Equal(t, s.with(pong), s.send(" key='"+k1+"' newkey='"+hash("other")+"'", "").answer())
		require.Equal(t, s.with(pong), s.sendAs(s.rid, " key='"+k1+"' newkey='"+hash("other")+"'", "").answer(), "repeated")
		s.write(pong)
		require.Equal(t, s.with(pong), s.send(" key='other'", "").answer())
		require.Equal(t, ended("item-not-found", ""), s.send("", "").answer())
		s.expect(Poll, "")
		s.expectError(errKey)
	})
}

// Who does not know the key gets no answer that is another's.
func TestARepeatedRequestNeedsItsKey(t *testing.T) {
	inBubble(t, Config{}, func(t *testing.T, h *house) {
		sum := sha1.Sum([]byte("seed"))
		s := h.begin("hold='1'", "hold='1' newkey='"+hex.EncodeToString(sum[:])+"'")
		s.send(" key='seed'", "").hangUp()
		s.write(pong)
		require.Equal(t, ended("item-not-found", ""), s.sendAs(s.rid, "", "").answer())
		s.expect(Poll, "")
		s.expectError(errKey)
	})
}

func TestTheOwnersEnd(t *testing.T) {
	conflict := "<stream:error><conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>"
	t.Run("a stream error goes out with the end, never before", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin()
			c := s.send("", "")
			s.write(pong + conflict)
			require.Equal(t, s.with(""), c.answer(), "when its wait was over")
			c = s.send("", "")
			require.True(t, c.waits())
			require.NoError(t, s.conn.CloseWrite())
			require.NoError(t, s.conn.CloseWrite())
			require.Equal(t, ended("remote-stream-error", pong+conflict), c.answer())
			_, err := s.conn.Write([]byte(pong))
			require.ErrorIs(t, err, io.ErrClosedPipe)
			s.expect(Poll, "")
			s.expectError(io.EOF)
		})
	})
	t.Run("it waits for the next request", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin()
			s.write(conflict)
			require.NoError(t, s.conn.CloseWrite())
			require.NoError(t, s.conn.SetReadDeadline(time.Now().Add(2*time.Second)))
			s.expectError(os.ErrDeadlineExceeded)
			require.NoError(t, s.conn.Close())
			time.Sleep(57 * time.Second)
			require.Equal(t, ended("remote-stream-error", conflict), s.send("", ping).answer())
			require.Empty(t, h.srv.sessions)
		})
	})
	t.Run("but no longer than a session lives", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin()
			require.NoError(t, s.conn.CloseWrite())
			s.expectError(io.EOF)
			require.Empty(t, h.srv.sessions)
		})
	})
	t.Run("refusing the creation has conditions of its own", func(t *testing.T) {
		for stream, cond := range map[wire.StreamCondition]string{
			wire.HostUnknown: "host-unknown", wire.SystemShutdown: "system-shutdown", wire.UnsupportedVersion: "remote-stream-error",
		} {
			inBubble(t, Config{}, func(t *testing.T, h *house) {
				c := h.post(createFmt)
				conn := <-h.conns
				said := string(wire.StreamError{Condition: stream}.Append(nil, false))
				_, err := conn.Write([]byte(said))
				require.NoError(t, err)
				require.NoError(t, conn.CloseWrite())
				require.Equal(t, ended(cond, said), c.answer())
			})
		}
	})
	t.Run("without a word it is an undefined condition", func(t *testing.T) {
		inBubble(t, Config{}, func(t *testing.T, h *house) {
			s := h.begin()
			c := s.send("", "")
			require.NoError(t, s.conn.Close())
			require.Equal(t, ended("undefined-condition", ""), c.answer())
			s.expectError(net.ErrClosed)
			require.ErrorIs(t, s.conn.Close(), net.ErrClosed)
			require.ErrorIs(t, s.conn.CloseWrite(), net.ErrClosed)
			require.ErrorIs(t, s.conn.SetDeadline(time.Time{}), net.ErrClosed)
			_, err := s.conn.Write([]byte(ping))
			require.ErrorIs(t, err, net.ErrClosed)
		})
	})
}
