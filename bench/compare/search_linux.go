package compare

import (
	"context"
	"fmt"
	"math"

	"vnode/bench/report"
)

const (
	searchFrom  = 1.0   // stanzas per second
	searchTo    = 16384 // no room is that lively
	searchStep  = 4     // times the rate before
	searchFiner = 3     // halvings, of the logarithm, between the last good rate and the first bad one
)

// search raises the rate until the server is behind and reports the highest
// throughput it reached, backlog included: past its limit a server shows it
// best. When the load test gives up first that is said in its place.
func (m *measurement) search(ctx context.Context) error {
	best := m.begin(scenarioSearch, 0)
	try := func(rate float64) (bool, error) {
		m.say("%s, repeat %d of %d: %d visitors, looking for the limit at %.4g stanzas/s", m.server.Name, m.repeat, m.Repeats, m.visitors, rate)
		r, err := m.talk(ctx, rate, m.Step)
		if err != nil {
			return false, err
		}
		r.Scenario = scenarioSearch
		if r.Metrics[report.DeliveriesPerSecond] > best.Metrics[report.DeliveriesPerSecond] {
			limit := best.Saturated
			best = r
			best.Saturated = limit
		}
		best.Problems = append(best.Problems, r.Problems...)
		if r.Saturated != "" && r.Metrics[report.LoadCPU] > loadLimit*float64(m.LoadCores) {
			best.Saturated = "at least that: " + r.Saturated
		}
		return r.Saturated == "", nil
	}
	good, bad := 0.0, 0.0
	for rate := searchFrom; rate <= searchTo && bad == 0; rate *= searchStep {
		ok, err := try(rate)
		if err != nil {
			return err
		}
		if ok {
			good = rate
		} else {
			bad = rate
		}
	}
	for range searchFiner {
		if bad == 0 || good == 0 {
			break
		}
		middle := math.Sqrt(good * bad)
		ok, err := try(middle)
		if err != nil {
			return err
		}
		if ok {
			good = middle
		} else {
			bad = middle
		}
	}
	if bad == 0 {
		best.Saturated = fmt.Sprintf("at least that: the search ended at %d stanzas/s", searchTo)
	}
	m.runs = append(m.runs, best)
	return nil
}
