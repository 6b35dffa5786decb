package s2s

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
)

// FuzzIncomingStream feeds whatever bytes to an incoming stream, before TLS and
// after. It must end by itself, with a closing tag unless the connection was
// already no XMPP stream, and only proved domains may reach the handler.
func FuzzIncomingStream(f *testing.F) {
	h := header(mainHost, rooms)
	stanzas := "<iq type='set' id='1' from='main.example' to='conference.v3.meet.example'><a/></iq><presence from='a@main.example/x' to='r@conference.v3.meet.example/a'/>"
	for _, s := range []string{
		h, h + startTLS, h + "<presence/>", "<?xml version='1.0'?>" + h, "<!DOCTYPE x>", "\x16\x03\x01\x00\x05hello",
		h + bidi + auth(b64(mainHost)) + h + stanzas + end,
		h + auth("=") + h + "<message from='evil.example' to='conference.v3.meet.example'/>",
		h + auth("") + "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>" + h + stanzas,
		h + claimOf(mainHost, rooms, "key") + stanzas,
		h + "<db:verify from='main.example' to='conference.v3.meet.example' id='1'>k</db:verify>" + end,
		h + auth("=") + h + streamError("reset", ""),
		h + bidi + auth("=") + h + ackAsked + enable + stanzas + ackAsked + ack(0) + ack(7),
		h + bidi + auth("=") + h + resume(1) + "<enabled xmlns='urn:xmpp:sm:3' resume='1' id='x'/>" + failed("item-not-found", ""),
		strings.ReplaceAll(h, "main.example", "&#x6d;ain.example"),
	} {
		f.Add([]byte(s), false)
		f.Add([]byte(s), true)
	}
	in := &inbox{}
	s, err := New(testConfig(), in, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	require.NoError(f, err)
	s.dial = newDialledNowhere
	f.Cleanup(func() { require.NoError(f, s.Close(context.Background())) })

	f.Fuzz(func(t *testing.T, data []byte, encrypted bool) {
		in.mu.Lock()
		in.all = nil
		in.mu.Unlock()
		client, server := memPipe(fromMain, nodeAddr)
		client.out.limit = len(data) + 1
		_, err := client.Write(data)
		require.NoError(t, err)
		require.NoError(t, client.CloseWrite())
		st := newStream(s, server, inbound)
		done := make(chan struct{})
		go func() {
			defer close(done)
			if encrypted {
				st.secure = true
				fuzzEncrypted(st)
			} else {
				st.acceptAndServe()
			}
		}()
		out, _ := io.ReadAll(client)
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("the stream does not end")
		}
		client.Close()
		if len(out) > 0 && st.ended.reason != Lost && st.ended.reason != TLSFailed && !st.mute {
			require.Contains(t, string(out), end)
		}
		for _, g := range in.all {
			require.Equal(t, mainHost, g.from.Domain)
			require.Contains(t, []string{rooms, node}, g.to.Domain)
		}
	})
}

func fuzzEncrypted(st *stream) {
	err := st.openIn()
	if err == nil {
		err = st.authenticate()
	}
	if err == nil {
		st.serve()
		return
	}
	st.end(endingOf(err, st.phase))
	st.finish()
}
