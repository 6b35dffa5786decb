package websocket

import (
	"bufio"
	"bytes"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAccept(t *testing.T) {
	answer := AppendAccept(nil, []byte("dGhlIHNhbXBsZSBub25jZQ=="))
	resp, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), nil)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusSwitchingProtocols, resp.StatusCode)
	require.Equal(t, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", resp.Header.Get("Sec-WebSocket-Accept"), "RFC 6455 §1.3")
	require.Equal(t, "xmpp", resp.Header.Get("Sec-WebSocket-Protocol"))
	require.Equal(t, "websocket", resp.Header.Get("Upgrade"))
	require.Equal(t, "Upgrade", resp.Header.Get("Connection"))
	require.Empty(t, resp.Header.Get("Sec-WebSocket-Extensions"))
}
