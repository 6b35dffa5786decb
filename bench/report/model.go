// Package report is what a load test leaves behind: figures with the machine
// they were taken on, as JSON, as a table and as a page.
package report

import "time"

// File is the result of one invocation of the bench command.
type File struct {
	Began   time.Time     `json:"began"`
	Took    time.Duration `json:"took_ns"`
	Command []string      `json:"command"` // as typed, to be typed again
	Version string        `json:"version"` // of the load test
	Machine Machine       `json:"machine"`
	Runs    []Run         `json:"runs"`
	// Servers are the versions of the servers under test, by name.
	Servers map[string]string `json:"servers,omitempty"`
	// Notes tell the reader what the figures cannot: what was cut short, which
	// server was missing.
	Notes []string `json:"notes,omitempty"`
}

// Machine describes where the figures were taken. It names no host.
type Machine struct {
	OS      string `json:"os"` // kernel and release
	CPU     string `json:"cpu"`
	Cores   int    `json:"cores"`
	Memory  int64  `json:"memory_bytes"`
	Go      string `json:"go"`
	Pinning string `json:"pinning"` // which process on which cores, in words
}

// Run is one scenario against one server, once.
type Run struct {
	Server    string  `json:"server"`    // vnode, prosody, ejabberd, floor
	Scenario  string  `json:"scenario"`  // steady, join-storm, …
	Transport string  `json:"transport"` // tcp, unix, bosh, xmpp
	Repeat    int     `json:"repeat"`    // from 1, within one comparison
	Visitors  int     `json:"visitors"`
	Rate      float64 `json:"rate"`  // stanzas per second into the room, offered
	Bytes     int     `json:"bytes"` // of one stanza, as delivered

	// Metrics by name; see the names below. A metric that was not measured is
	// absent, never 0.
	Metrics map[string]float64 `json:"metrics"`
	// Latency is the distribution from publication to each client.
	Latency *Distribution `json:"latency,omitempty"`
	// Joins is the distribution of the time from connecting to room complete.
	Joins *Distribution `json:"joins,omitempty"`

	// Saturated says why the figures are not the server's limit or not to be
	// trusted as its cost: the load was not delivered in time, or the load
	// test itself had no CPU left. Empty: they are.
	Saturated string   `json:"saturated,omitempty"`
	Problems  []string `json:"problems,omitempty"` // lost, doubled, out of order
	// Limit says, of a ceiling, what stopped the search above it, see
	// [Run.Limits]. Empty: nothing did.
	Limit string `json:"limit,omitempty"`
}

// Distribution is a distribution of durations, open-loop: measured from when a
// thing should have happened.
type Distribution struct {
	Count uint64        `json:"count"`
	P50   time.Duration `json:"p50_ns"`
	P95   time.Duration `json:"p95_ns"`
	P99   time.Duration `json:"p99_ns"`
	Max   time.Duration `json:"max_ns"`
	CDF   []Point       `json:"cdf,omitempty"` // at most 100, rising
}

// Point of a cumulative distribution.
type Point struct {
	At       time.Duration `json:"at_ns"`
	Fraction float64       `json:"fraction"` // in (0, 1]
}

// Names of metrics. Durations are seconds, sizes bytes.
const (
	DeliveriesPerSecond = "deliveries_per_second"
	CPUPerDelivery      = "cpu_seconds_per_delivery" // of the server, user and kernel
	KernelShare         = "cpu_kernel_share"         // of that, in [0, 1]
	ServerCPU           = "server_cpu_cores"         // while the scenario ran
	LoadCPU             = "load_cpu_cores"           // of the load test
	LoadPerDelivery     = "load_cpu_s_per_delivery"  // CPU of the load test by stanzas delivered
	JoinsPerCPUSecond   = "joins_per_cpu_second"     // of the server
	CPUPerJoin          = "cpu_seconds_per_join"     // of the server
	BytesPerJoin        = "bytes_per_join"           // to the client
	RSSPerSession       = "rss_bytes_per_session"    // growth, idle and joined
	RSSGrowth           = "rss_growth_bytes"         // while the scenario ran
	KernelTCPMemory     = "kernel_tcp_bytes"         // of the whole machine
	BatchStanzas        = "batch_stanzas_mean"       // of the server's own metric
	Lost                = "lost"                     // must be 0, as the next two
	Duplicated          = "duplicated"
	Disordered          = "disordered"
	RelayBytesPerSecond = "relay_bytes_per_second"       // signalling, focus to visitors
	ResumedPerSecond    = "resumed_per_second"           // of a reconnect storm
	ResumedPerCPUSecond = "resumed_per_cpu_second"       // of the server
	JoinsPutOff         = "joins_put_off"                // attempts that a busy server told to come again
	OthersCPU           = "others_cpu_cores"             // of what else ran on the machine
	Superseded          = "superseded"                   // presences left out for a newer one, as the server counts
	BaselineP99         = "baseline_latency_p99_seconds" // of the same visitors before they were disturbed
	StalledEnded        = "stalled_ended"                // stalled sessions the server gave up
	RelayPerCPUSecond   = "relay_bytes_per_cpu_second"   // of the server
	ProfileKernelShare  = "profile_kernel_share"         // of the CPU profile's samples, in [0, 1]
	OthersP99           = "others_latency_p99_seconds"   // of those not stalled, or inside
)
