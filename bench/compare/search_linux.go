package compare

import (
	"context"
	"fmt"
	"math"

	"vnode/bench/report"
)

const (
	searchFrom  = 1     // stanzas per second, when no rate is known to be low enough
	searchTo    = 50000 // no room is that lively
	searchStep  = 2     // times the rate before: more would leave a backlog that takes longer than the search
	searchNear  = 1.25  // when one side has much to do: a server may let its clients go beyond its limit
	searchFiner = 2     // halvings, of the logarithm, between the last good rate and the first bad one
)

// busy is the part of its cores a server uses that is at its limit.
const busy = 0.75

// search raises the rate, from the highest that was no trouble, until the
// server is behind, and reports the highest throughput it reached, backlog
// included: past its limit a server shows it best. When the load test gives up
// first that is said in its place.
func (m *measurement) search(ctx context.Context) error {
	best := m.begin(scenarioSearch, 0)
	try := func(rate float64) (report.Run, error) {
		m.say("%s, repeat %d of %d: %d visitors, looking for the limit at %.4g stanzas/s", m.server.Name, m.repeat, m.Repeats, m.visitors, rate)
		r, err := m.talk(ctx, rate, m.Step)
		best = better(best, r)
		if r.Saturated != "" {
			best.Limit = r.Limits(r.Saturated, max(len(m.Options.Cores), 1), m.LoadCores)
		}
		switch cores := float64(max(len(m.Options.Cores), 1)); {
		case r.Saturated == "":
		case r.Metrics[report.LoadCPU] > report.LoadLimit*float64(m.LoadCores):
			best.Saturated = "at least that: " + r.Saturated
		case r.Metrics[report.ServerCPU] < busy*cores:
			best.Saturated = fmt.Sprintf("at least that: the server was behind though it used %.2f of its %.0f cores; other work had the machine", r.Metrics[report.ServerCPU], cores)
		}
		return r, err
	}
	good, bad := 0.0, 0.0
	for rate := max(searchFrom, m.good*searchStep); rate <= searchTo && bad == 0; {
		r, err := try(rate)
		if err != nil {
			return err
		}
		step := float64(searchStep)
		if m.working(&r) {
			step = searchNear
		}
		if r.Saturated != "" {
			bad = rate
			good = max(good, rate/searchStep)
		} else {
			good, rate = rate, rate*step
		}
		r.Scenario = scenarioStep
		m.Runs = append(m.Runs, r)
	}
	for range searchFiner {
		if bad == 0 || m.gone { // with fewer visitors it would be another search
			break
		}
		middle := math.Sqrt(good * bad)
		r, err := try(middle)
		if err != nil {
			return err
		}
		if r.Saturated == "" {
			good = middle
		} else {
			bad = middle
		}
	}
	if bad == 0 {
		best.Saturated = fmt.Sprintf("at least that: the search ended at %d stanzas/s", searchTo)
	}
	m.Runs = append(m.Runs, best)
	return nil
}

// working reports whether the server or the load test used most of its cores.
func (m *measurement) working(r *report.Run) bool {
	const most = 0.6
	return r.Metrics[report.ServerCPU] > most*float64(max(len(m.Options.Cores), 1)) || r.Metrics[report.LoadCPU] > most*float64(m.LoadCores)
}

// better returns the run with the higher throughput, as the result of a search.
// What went wrong in either stays said.
func better(best, r report.Run) report.Run {
	problems, saturated, limit := append(best.Problems, r.Problems...), best.Saturated, best.Limit
	if r.Metrics[report.DeliveriesPerSecond] > best.Metrics[report.DeliveriesPerSecond] {
		best = r
	}
	best.Scenario, best.Problems, best.Saturated, best.Limit = scenarioSearch, problems, saturated, limit
	return best
}
