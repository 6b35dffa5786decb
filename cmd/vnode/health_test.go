package main

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

// The health check of a container finds the node by the container's variables, and
// its exit code tells the state.
func TestHealth(t *testing.T) {
	var answer string
	var asked string
	status := http.StatusOK
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.URL.Path
		w.WriteHeader(status)
		fmt.Fprint(w, answer)
	}))
	_, port, err := net.SplitHostPort(node.Listener.Addr().String())
	require.NoError(t, err)
	t.Setenv("VNODE_ADMIN", ":"+port) // on all addresses: asked at loopback
	t.Setenv("http_proxy", "http://192.0.2.1:1")
	check := func(want int, args ...string) (stdout, stderr string) {
		var out, errs bytes.Buffer
		require.Equal(t, want, run(append([]string{"health"}, args...), &out, &errs), errs.String())
		return out.String(), errs.String()
	}

	answer = `{"ok":true,"state":"draining","reasons":["an operator drains it"]}`
	stdout, _ := check(0)
	require.Equal(t, "draining; an operator drains it\n", stdout)
	require.Equal(t, "/healthz", asked)

	answer, status = `{"ok":false,"state":"draining","reasons":[]}`, http.StatusServiceUnavailable
	stdout, _ = check(1, "-ready")
	require.Equal(t, "draining\n", stdout)
	require.Equal(t, "/readyz", asked)

	answer = "<html>nginx</html>"
	_, stderr := check(1)
	require.Contains(t, stderr, "is no node")

	node.Close()
	_, stderr = check(1)
	require.Contains(t, stderr, "does not answer at its admin address :"+port)

	t.Setenv("VNODE_ADMIN", "off")
	_, stderr = check(2)
	require.Contains(t, stderr, "set admin to an address")
}
