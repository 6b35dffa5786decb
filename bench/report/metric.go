package report

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Better says which way a metric is good.
type Better int

// The ways.
const (
	Neither Better = iota
	Lower
	Higher
)

// Unit is what a metric counts in the model.
type Unit string

// The units.
const (
	Seconds        Unit = "s"
	Bytes          Unit = "B"
	Cores          Unit = "cores"
	Share          Unit = "%"
	Count          Unit = "" // of stanzas or sessions
	PerSecond      Unit = "/s"
	BytesPerSecond Unit = "B/s"
)

// Metric describes a metric for people.
type Metric struct {
	Name    string // in [Run.Metrics]
	Label   string
	Unit    Unit
	Better  Better
	Meaning string
	// Headline marks what servers are compared by: its spread is shown too, and
	// how many times worse than the reference others are.
	Headline bool
}

// metrics are all there are, in the order of tables.
var metrics = []Metric{
	{CPUPerDelivery, "CPU per delivery", Seconds, Lower,
		"processor time of the server, user and kernel, for one stanza to one client", true},
	{DeliveriesPerSecond, "deliveries", PerSecond, Higher,
		"stanzas that reached a client, all clients together", false},
	{JoinsPerCPUSecond, "joins per CPU second", PerSecond, Higher,
		"clients let in, from connection to complete room, for one second of the server's processor time", true},
	{CPUPerJoin, "CPU per join", Seconds, Lower,
		"processor time of the server for one such join", false},
	{JoinsPutOff, "joins put off", Count, Lower,
		"attempts to join that the server, being busy, told to come again; the time of a join counts from its first attempt", false},
	{BytesPerJoin, "bytes per join", Bytes, Neither,
		"what a client receives until it has the whole room", false},
	{RSSPerSession, "memory per session", Bytes, Lower,
		"growth of the server's resident memory for one client that has joined and is idle", true},
	{RSSGrowth, "memory growth", Bytes, Lower,
		"growth of the server's resident memory while the scenario ran", false},
	{KernelTCPMemory, "kernel TCP memory", Bytes, Neither,
		"what all TCP sockets of the machine hold, both ends", false},
	{ResumedPerSecond, "resumptions", PerSecond, Higher,
		"sessions that went on over a new connection", false},
	{ResumedPerCPUSecond, "resumptions per CPU second", PerSecond, Higher,
		"sessions that went on over a new connection, for one second of the server's processor time", true},
	{RelayBytesPerSecond, "signalling relayed", BytesPerSecond, Higher,
		"large IQs from the focus to visitors", false},
	{RelayPerCPUSecond, "signalling per CPU second", BytesPerSecond, Higher,
		"large IQs from the focus to visitors, for one second of the server's processor time", true},
	{BatchStanzas, "stanzas per batch", Count, Neither,
		"how many stanzas leave with one system call, on average", false},
	{BaselineP99, "latency p99 before", Seconds, Neither,
		"of 99 in 100 deliveries to the same clients before they were disturbed", false},
	{OthersP99, "others' latency p99", Seconds, Lower,
		"of 99 in 100 deliveries to clients that were not themselves disturbed", false},
	{ServerCPU, "server CPU", Cores, Neither,
		"processor cores the server used while the scenario ran", false},
	{KernelShare, "of it in the kernel", Share, Neither,
		"part of the server's processor time that was the kernel's", false},
	{ProfileKernelShare, "of its profile in the kernel", Share, Neither,
		"part of the samples of the server's processor profile that were in the kernel", false},
	{StalledEnded, "stalled sessions ended", Count, Neither,
		"clients that did not read and were given up by the server", false},
	{Superseded, "left out", Count, Neither,
		"presences a client that lagged was spared because a newer one of the same sender followed", false},
	{LoadCPU, "load test CPU", Cores, Neither,
		"processor cores the load test used itself", false},
	{LoadPerDelivery, "load test CPU per delivery", Seconds, Neither,
		"processor time of the load test, user and kernel, for one stanza to one client", false},
	{OthersCPU, "other programs' CPU", Cores, Neither,
		"processor cores that whatever else ran on the machine used meanwhile; figures are the server's own on a quiet machine only", false},
	{Lost, "lost", Count, Lower,
		"stanzas that never arrived; must be 0", false},
	{Duplicated, "duplicated", Count, Lower,
		"stanzas that arrived twice; must be 0", false},
	{Disordered, "out of order", Count, Lower,
		"stanzas that arrived behind a later one of the same sender; must be 0", false},
}

// Describe returns the description of the metric with that name. One that is
// not known is described by its name.
func Describe(name string) Metric {
	for _, m := range metrics {
		if m.Name == name {
			return m
		}
	}
	return Metric{Name: name, Label: strings.ReplaceAll(name, "_", " ")}
}

// Format returns a value with its unit, to three digits.
func (m Metric) Format(v float64) string {
	switch m.Unit {
	case Seconds:
		return formatSeconds(v)
	case Bytes:
		return formatSI(v, " ", "B")
	case BytesPerSecond:
		return formatSI(v, " ", "B/s")
	case Share:
		return fmt.Sprintf("%.0f %%", 100*v)
	case Cores:
		return fmt.Sprintf("%.2f", v)
	case PerSecond:
		return formatSI(v, "", "/s")
	}
	return formatSI(v, "", "")
}

// digits3 rounds to three significant digits and leaves thousands whole.
func digits3(v float64) string {
	switch a := math.Abs(v); {
	case v == 0:
		return "0"
	case a >= 99.95:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 9.995:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 0.9995:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
}

func formatSI(v float64, gap, unit string) string {
	prefixes := []string{"", "k", "M", "G", "T"}
	i := 0
	for ; math.Abs(v) >= 999.5 && i+1 < len(prefixes); i++ {
		v /= 1000
	}
	if i > 0 {
		gap = " "
	}
	text := digits3(v)
	if i == 0 && v == math.Trunc(v) {
		text = strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strings.TrimSuffix(text+gap+prefixes[i]+unit, " ")
}

func formatSeconds(v float64) string {
	for _, u := range []struct {
		least float64
		unit  string
	}{{1, "s"}, {1e-3, "ms"}, {1e-6, "µs"}} {
		if math.Abs(v) >= u.least {
			return digits3(v/u.least) + " " + u.unit
		}
	}
	if v == 0 {
		return "0 s"
	}
	return digits3(v/1e-9) + " ns"
}

// times formats a ratio.
func times(r float64) string {
	if r >= 0.995 && r < 1.005 {
		return "1×"
	}
	return digits3(r) + "×"
}
