package compare

import (
	"context"

	"vnode/bench/peers"
	"vnode/bench/peers/floor"
	"vnode/bench/report"
)

// SendLoop measures the floor without clients, see [peers.Calibrate], over
// transport tcp or unix. It blocks for o.For and a little more.
func SendLoop(ctx context.Context, opt peers.Options, transport string, o floor.ClosedOptions, repeat int) (report.Run, error) {
	c, err := peers.Calibrate(ctx, opt, transport == "unix", o)
	if err != nil {
		return report.Run{}, err
	}
	return report.Run{
		Server: "floor", Scenario: "closed-loop", Transport: transport, Repeat: repeat, Visitors: o.Sockets,
		Bytes: o.Size, Batch: o.Batch,
		Metrics: map[string]float64{
			report.CPUPerDelivery: c.PerStanza.Seconds(), report.DeliveriesPerSecond: c.PerSecond, report.BatchStanzas: float64(o.Batch),
		},
	}, nil
}
