package report

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Whoever has used up its cores is the limit, the load test first: then the
// server may have had more to give.
func TestWhoseLimitItIs(t *testing.T) {
	for _, c := range []struct {
		server, load float64
		want         string
	}{
		{0.99, 0.60, "the server's"},
		{0.99, 0.95, "the load test's"},
		{0.50, 0.95, "the load test's"},
		{0.50, 0.50, "neither's: both had time left"},
	} {
		r := Run{Rate: 1200, Metrics: map[string]float64{ServerCPU: c.server, LoadCPU: c.load}}
		require.Contains(t, r.Limits("it was late", 1, 1), c.want+", at ")
		require.Contains(t, r.Limits("it was late", 1, 1), "it was late")
	}
	r := Run{Metrics: map[string]float64{ServerCPU: 0.9, LoadCPU: 1.5}}
	require.Contains(t, r.Limits("", 1, 2), "the server's", "of two cores")
}

// The table says it below the ceiling, not as a fault.
func TestALimitIsShown(t *testing.T) {
	f := File{Runs: []Run{{Server: "vnode", Scenario: ceiling, Metrics: map[string]float64{DeliveriesPerSecond: 1e6}, Limit: "the server's, at 500 stanzas/s"}}}
	g := f.groups()[0]
	require.Equal(t, []string{"vnode: the limit is the server's, at 500 stanzas/s"}, g.limits())
	require.Empty(t, g.remarks())
}
