package report

import "fmt"

// LoadLimit is the part of its cores that a load test may use: with more it is
// late for reasons of its own.
const LoadLimit = 0.92

// busy is the part of its cores that a server at its limit uses at least.
const busy = 0.75

// Limits says whose limit a run has met that a search for the ceiling took for
// too much, why it did, and what both sides used of their cores. When the load
// test was at its own limit, the server's is not known, whatever it used; when
// neither was, other work had the machine, or the server waited for something.
func (r *Run) Limits(why string, serverCores, loadCores int) string {
	server, load := r.Metrics[ServerCPU], r.Metrics[LoadCPU]
	whose := "neither's: both had time left"
	switch {
	case load > LoadLimit*float64(loadCores):
		whose = "the load test's"
	case server > busy*float64(serverCores):
		whose = "the server's"
	}
	return fmt.Sprintf("%s, at %s stanzas/s, where the server used %.2f of %d cores and the load test %.2f of %d: %s",
		whose, rate(r.Rate), server, serverCores, load, loadCores, why)
}
