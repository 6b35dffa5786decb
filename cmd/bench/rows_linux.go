package main

import (
	"fmt"
	"strings"
	"time"

	"vnode/bench/lab"
	"vnode/bench/report"
)

// row is one line of the table: a promise, how to measure it, and how to judge.
type row struct {
	number    int
	what, bar string
	command   string
	steps     []step // of a node of ours
	compare   string // arguments of bench compare, beside other servers
	judge     func([]report.Run) verdict
}

// must is an experiment with other parameters. The names are the lab's own.
func must(name string, change func(*lab.Params)) step {
	e, err := lab.Find(name)
	if err != nil {
		panic(err)
	}
	p := e.Default
	change(&p)
	return step{e, p}
}

func steady(transport string, visitors int, rate float64) step {
	return must("steady", func(p *lab.Params) { p.Transport, p.Visitors, p.Rate = transport, visitors, rate })
}

// rows are the table's, in its order.
func rows() []row {
	all := []row{floorRow(), costAgainstPeers(), costRow(), saturationAgainstPeers(), joinsAgainstPeers(), latencyRow(), ceilingRow(),
		crowdedRow(), memoryRow(), stalledRow(), stormRow(), relayRow(), growthRow(), kernelRow()}
	for i := range all {
		r := &all[i]
		r.number = i + 1
		if r.compare != "" {
			r.command = "bench compare " + r.compare
		}
	}
	return all
}

func floorRow() row {
	return row{
		what: "CPU per delivered 900 B stanza, batch 1, of the send loop's", bar: "≤ 1.25 ×",
		compare: "-servers vnode,floor -visitors 2000 -rates 20 -size 900",
		judge: func(runs []report.Run) verdict {
			r, ok := ratio(runs, pick{server: "vnode", scenario: "steady"}, pick{server: "floor", scenario: "steady"}, report.CPUPerDelivery)
			if !ok {
				return verdict{}
			}
			return verdict{times(r), r <= 1.25}
		},
	}
}

// plainServers are the servers that others run.
var plainServers = []string{"prosody", "ejabberd"}

func costAgainstPeers() row {
	return row{
		what: "CPU per delivery, 2,000 visitors × 2 stanzas/s, against Prosody's and ejabberd's MUC", bar: "≤ 1/10 by TCP, ≤ 1/20 by unix socket",
		compare: "-servers vnode,vnode/unix,prosody,ejabberd -visitors 2000 -rates 2 -duration 16s",
		judge: func(runs []report.Run) verdict {
			return against(runs, "steady", report.CPUPerDelivery, map[string]float64{"tcp": 10, "unix": 20}, false)
		},
	}
}

func joinsAgainstPeers() row {
	return row{
		what: "joins per CPU second, P = 30, against theirs", bar: "≥ 50 ×",
		compare: "-servers vnode,prosody,ejabberd -visitors 1000",
		judge: func(runs []report.Run) verdict {
			return against(runs, "join-storm", report.JoinsPerCPUSecond, map[string]float64{"tcp": 50}, true)
		},
	}
}

func saturationAgainstPeers() row {
	return row{
		what: "deliveries per second at saturation of one core, against theirs, 1,000 visitors", bar: "≥ 200 ×",
		compare: "-servers vnode,prosody,ejabberd -visitors 1000 -search -chat 1 -size 900",
		judge: func(runs []report.Run) verdict {
			return against(runs, "ceiling", report.DeliveriesPerSecond, map[string]float64{"tcp": 200}, true)
		},
	}
}

// against compares our node with every other server: how many times better it
// is must be at least what is promised for its transport.
func against(runs []report.Run, scenario, metric string, bars map[string]float64, more bool) verdict {
	v := verdict{ok: true}
	var parts []string
	for _, transport := range []string{"tcp", "unix"} {
		least, wanted := bars[transport]
		if !wanted {
			continue
		}
		ours := pick{server: "vnode", scenario: scenario, transport: transport}
		value, ok := ours.metric(runs, metric)
		if !ok {
			return verdict{}
		}
		for _, name := range plainServers {
			better, ok := ratio(runs, ours, pick{server: name, scenario: scenario}, metric)
			if !ok {
				v.ok = false
				parts = append(parts, fmt.Sprintf("%s: %s was not measured", transport, name))
				continue
			}
			text := times(better)
			if !more {
				text = fmt.Sprintf("1/%.3g", 1/better)
				better = 1 / better
			}
			v.ok = v.ok && better >= least
			parts = append(parts, fmt.Sprintf("%s: %s, %s of %s's", transport, format(metric, value), text, name))
		}
	}
	v.measured = strings.Join(parts, "; ") + pick{server: "vnode", scenario: scenario}.limit(runs)
	return v
}

func costRow() row {
	return row{
		what: "CPU per delivery, 2,000 visitors × 60 stanzas/s", bar: "≤ 7 µs TCP, ≤ 3.5 µs unix",
		command: "bench run steady -visitors 2000 -rate 60 -transports tcp,unix",
		steps:   []step{steady("tcp", 2000, 60), steady("unix", 2000, 60)},
		judge: func(runs []report.Run) verdict {
			return both(runs, func(p pick) (float64, bool) { return p.metric(runs, report.CPUPerDelivery) },
				report.CPUPerDelivery, map[string]float64{"tcp": 7e-6, "unix": 3.5e-6})
		},
	}
}

func latencyRow() row {
	return row{
		what: "p99 of delivery, 2,000 visitors, 200 stanzas/s, one core", bar: "≤ 30 ms TCP, ≤ 15 ms unix; none lost",
		command: "bench run steady -visitors 2000 -rate 200 -transports tcp,unix",
		steps:   []step{steady("tcp", 2000, 200), steady("unix", 2000, 200)},
		judge: func(runs []report.Run) verdict {
			return both(runs, func(p pick) (float64, bool) { return p.p99(runs) }, report.OthersP99, map[string]float64{"tcp": 0.030, "unix": 0.015})
		},
	}
}

// both judges a figure by TCP and by unix socket; less is better.
func both(runs []report.Run, value func(pick) (float64, bool), metric string, bars map[string]float64) verdict {
	v := verdict{ok: !saturated(runs)}
	var parts []string
	for _, transport := range []string{"tcp", "unix"} {
		most, wanted := bars[transport]
		if !wanted {
			continue
		}
		n, ok := value(pick{transport: transport})
		if !ok {
			return verdict{}
		}
		v.ok = v.ok && n <= most
		parts = append(parts, fmt.Sprintf("%s TCP", format(metric, n)))
		if transport == "unix" {
			parts[len(parts)-1] = format(metric, n) + " unix"
		}
	}
	v.measured = strings.Join(parts, ", ") + lost(runs) + why(runs)
	return v
}

// lost tells the losses of all runs.
func lost(runs []report.Run) string {
	var n float64
	for _, r := range runs {
		n += r.Metrics[report.Lost]
	}
	if n == 0 {
		return "; none lost"
	}
	return fmt.Sprintf("; %.0f lost", n)
}

// why tells why figures may not be the node's.
func why(runs []report.Run) string {
	for _, r := range runs {
		if r.Saturated != "" {
			return "; " + r.Saturated
		}
	}
	return ""
}

func ceilingRow() row {
	return row{
		what: "throughput ceiling, 2,000 visitors, p99 ≤ 500 ms", bar: "≥ 2 M deliveries/s on one core",
		command: "bench run ceiling -visitors 2000",
		steps:   []step{must("ceiling", func(*lab.Params) {})},
		judge: func(runs []report.Run) verdict {
			top := pick{scenario: "ceiling"}
			n, ok := top.metric(runs, report.DeliveriesPerSecond)
			p99, ok2 := top.p99(runs)
			if !ok || !ok2 {
				return verdict{}
			}
			text := fmt.Sprintf("%s, p99 %s", format(report.DeliveriesPerSecond, n), format(report.OthersP99, p99))
			return verdict{text + top.limit(runs), n >= 2e6}
		},
	}
}

func crowdedRow() row {
	return row{
		what: "p99 of delivery, 10,000 visitors in one process, 50 stanzas/s, one core", bar: "≤ 150 ms TCP; none lost",
		command: "bench run steady -visitors 10000 -rate 50",
		steps:   []step{steady("tcp", 10000, 50)},
		judge: func(runs []report.Run) verdict {
			return both(runs, func(p pick) (float64, bool) { return p.p99(runs) }, report.OthersP99, map[string]float64{"tcp": 0.150})
		},
	}
}

func memoryRow() row {
	return row{
		what: "memory per idle joined visitor, stream management on", bar: "≤ 3 KB",
		command: "bench run idle -visitors 5000",
		steps:   []step{must("idle", func(p *lab.Params) { p.Visitors = 5000 })},
		judge: func(runs []report.Run) verdict {
			n, ok := pick{}.metric(runs, report.RSSPerSession)
			if !ok {
				return verdict{}
			}
			return verdict{format(report.RSSPerSession, n), n <= 3<<10}
		},
	}
}

// noise is how much a p99 may grow and still be called unchanged: it moves by
// as much between two runs of the same load.
const noise = 1.25

func stalledRow() row {
	return row{
		what: "10 % stalled for 60 s at 100 stanzas/s", bar: "RSS growth ≤ 32 MB, healthy p99 unchanged within noise",
		command: "bench run stalled",
		steps:   []step{must("stalled", func(*lab.Params) {})},
		judge: func(runs []report.Run) verdict {
			grew, ok := pick{}.metric(runs, report.RSSGrowth)
			p99, ok2 := pick{}.metric(runs, report.OthersP99)
			before, ok3 := pick{}.metric(runs, report.BaselineP99)
			if !ok || !ok2 || !ok3 {
				return verdict{}
			}
			return verdict{
				fmt.Sprintf("%s; p99 %s, before %s%s", format(report.RSSGrowth, grew), format(report.OthersP99, p99), format(report.OthersP99, before), lost(runs)),
				grew <= 32<<20 && p99 <= before*noise,
			}
		},
	}
}

func stormRow() row {
	return row{
		what: "join storm of 2,000 visitors, P = 30", bar: "all complete ≤ 2 s of node CPU; others' p99 ≤ 100 ms meanwhile",
		command: "bench run join-storm -visitors 2000",
		steps:   []step{must("join-storm", func(p *lab.Params) { p.Visitors = 2000 })},
		judge: func(runs []report.Run) verdict {
			each, ok := pick{}.metric(runs, report.CPUPerJoin)
			p99, ok2 := pick{}.metric(runs, report.OthersP99)
			if !ok || !ok2 {
				return verdict{}
			}
			all := each * 2000
			return verdict{fmt.Sprintf("%.2f s; p99 %s", all, format(report.OthersP99, p99)), all <= 2 && p99 <= 0.100}
		},
	}
}

func relayRow() row {
	return row{
		what: "signalling relay, 20 KB IQs, each answered", bar: "≥ 400 MB/s on one core",
		command: "bench run relay",
		steps:   []step{must("relay", func(*lab.Params) {})},
		judge: func(runs []report.Run) verdict {
			n, ok := pick{}.metric(runs, report.RelayBytesPerSecond)
			if !ok {
				return verdict{}
			}
			return verdict{format(report.RelayBytesPerSecond, n) + why(runs), n >= 400e6}
		},
	}
}

// flat is how much dearer than with less a delivery may be and still count as
// flat: what noise makes of it.
const flat = 1.15

func growthRow() row {
	g := growth{visitors: growthVisitors, rates: growthRates, rate: 20, transport: "tcp", duration: 8 * time.Second}
	steps, err := g.steps()
	if err != nil {
		panic(err) // the lists are our own
	}
	visitors, _ := numbers(growthVisitors)
	rates, _ := numbers(growthRates)
	return row{
		what: "growth: visitors 500 → 19,500 and rate 1 → 1,500/s", bar: "cost per delivery flat or falling",
		command: "bench growth", steps: steps,
		judge: func(runs []report.Run) verdict {
			var byVisitors, byRate []float64
			for _, n := range visitors {
				c, _ := pick{visitors: int(n), rate: g.rate}.metric(runs, report.CPUPerDelivery)
				byVisitors = append(byVisitors, c)
			}
			for _, r := range rates {
				c, _ := pick{visitors: 2000, rate: r}.metric(runs, report.CPUPerDelivery)
				byRate = append(byRate, c)
			}
			a, okA := curve(byVisitors)
			b, okB := curve(byRate)
			if len(runs) == 0 {
				return verdict{}
			}
			return verdict{"visitors: " + a + "; rate: " + b, okA && okB}
		},
	}
}

// curve writes costs and reports whether each is at most the one before.
func curve(costs []float64) (string, bool) {
	ok := true
	parts := make([]string, len(costs))
	for i, c := range costs {
		if c == 0 {
			parts[i], ok = "–", false
			continue
		}
		parts[i] = format(report.CPUPerDelivery, c)
		ok = ok && (i == 0 || c <= costs[i-1]*flat)
	}
	return strings.Join(parts, ", "), ok
}

func kernelRow() row {
	return row{
		what: "kernel's part of the steady case's CPU", bar: "≥ 85 %",
		command: "bench profile -rate 60",
		steps:   []step{must("steady", func(p *lab.Params) { p.Profile = "cpu.pprof" })},
		judge: func(runs []report.Run) verdict {
			n, ok := pick{}.metric(runs, report.KernelShare)
			if !ok {
				return verdict{}
			}
			text := format(report.KernelShare, n) + " by the kernel's own account"
			if p, ok := (pick{}).metric(runs, report.ProfileKernelShare); ok {
				text += ", " + format(report.KernelShare, p) + " by pprof"
				n = min(n, p)
			}
			return verdict{text, n >= 0.85}
		},
	}
}
