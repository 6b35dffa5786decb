package node

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vnode/cmd/internal/admin"
)

// A drain begins only when jicofo can use another node: the nodes say of
// themselves whether it is logged in there.
func TestDrainAsksTheOtherNodes(t *testing.T) {
	cfg := testConfig(t, "127.0.0.1:1")
	node := start(t, cfg)
	require.Eventually(t, func() bool { return node.drain.state() == admin.Ready }, 20*time.Second, 5*time.Millisecond)
	var report admin.Report
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		require.Equal(t, "/readyz", r.URL.Path)
		_ = json.NewEncoder(w).Encode(report)
	}))
	defer other.Close()
	next := *cfg
	next.OtherNodes = []string{"127.0.0.1:1", other.Listener.Addr().String()}
	require.NoError(t, node.Reload(&next))

	report = admin.Report{State: admin.Draining, Focus: true}
	err := operator{node.Node}.Drain(t.Context(), 0, "x", false)
	require.ErrorContains(t, err, "127.0.0.1:1 does not answer")
	require.ErrorContains(t, err, other.Listener.Addr().String()+" is draining")
	report = admin.Report{State: admin.Ready}
	require.ErrorContains(t, operator{node.Node}.Drain(t.Context(), 0, "x", false), "jicofo is not logged in at "+other.Listener.Addr().String())
	report = admin.Report{State: admin.Ready, Focus: true, Process: admin.Process}
	require.ErrorContains(t, operator{node.Node}.Drain(t.Context(), 0, "x", false), other.Listener.Addr().String()+" is this node itself")
	require.Equal(t, admin.Ready, node.drain.state())
	report = admin.Report{State: admin.Ready, Focus: true, Process: "another"}
	require.NoError(t, operator{node.Node}.Drain(t.Context(), 0, "x", false))
	require.Eventually(t, func() bool { return node.drain.state() == admin.Drained }, 20*time.Second, 5*time.Millisecond)
}
