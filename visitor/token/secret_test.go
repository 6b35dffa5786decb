package token

import (
	"bytes"
	"log/slog"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// What opens the key server to the node is not for its log.
func TestThePasswordOfAKeyServerIsNotLogged(t *testing.T) {
	for _, status := range []int{http.StatusInternalServerError, http.StatusOK} { // neither gives keys
		var log bytes.Buffer
		client := &http.Client{Transport: &web{status: status}}
		logger := slog.New(slog.NewTextHandler(&log, nil))
		const url = "https://node:hunter2@keys.example.com/asap"
		for _, keys := range []Keys{NewKeyServer(url, client, logger), NewKeySet(url, client, logger)} {
			_, err := keys.Keys(t.Context(), "k")
			require.Error(t, err)
			require.NotContains(t, err.Error(), "hunter2")
		}
		require.Contains(t, log.String(), "keys.example.com")
		require.NotContains(t, log.String(), "hunter2")
	}
}
