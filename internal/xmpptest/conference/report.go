package conference

import (
	"encoding/json"
	"fmt"
	"io"
	"sort"
	"text/tabwriter"
	"time"
)

// Report is the result of a run. Durations are nanoseconds in JSON, sizes
// bytes.
type Report struct {
	Name     string         `json:"name"`
	Began    time.Time      `json:"began"`
	Took     time.Duration  `json:"took_ns"`
	Visitors VisitorReport  `json:"visitors"`
	Delivery DeliveryReport `json:"delivery"`
	Resumed  Resumptions    `json:"resumptions"`
	Main     MainReport     `json:"main"`
	Focus    FocusReport    `json:"focus"`
	Node     *NodeReport    `json:"node,omitempty"`
	LoadCPU  time.Duration  `json:"load_cpu_ns"` // of the process that made the load
	Problems []string       `json:"problems"`
}

// VisitorReport tells how the visitors came and went.
type VisitorReport struct {
	Wanted         int            `json:"wanted"`
	Joined         int            `json:"joined"`
	JoinsPerSecond float64        `json:"joins_per_second"`
	Join           Quantiles      `json:"join"`
	Destroyed      map[string]int `json:"destroyed"` // ended with the room, by its reason
	Left           int            `json:"left"`
	Broken         int            `json:"broken"` // ended otherwise
	FirstError     string         `json:"first_error,omitempty"`
}

// DeliveryReport tells what the visitors got.
type DeliveryReport struct {
	Presences uint64  `json:"presences_published"` // leaves included
	Lines     uint64  `json:"lines_published"`
	Tally     Tally   `json:"tally"`
	PerSecond float64 `json:"per_second"`
	// Publication to receipt, of what was published after a join and did not
	// wait for a resumption.
	Latency Quantiles `json:"latency"`
}

// MainReport tells what main got of the visitors.
type MainReport struct {
	Lines  uint64   `json:"lines_published"`
	Tally  Tally    `json:"tally"` // of all receivers at main together
	Faults []string `json:"faults"`
}

// FocusReport tells what the focus saw.
type FocusReport struct {
	Visitors  int    `json:"visitors"` // that ever came
	Destroyed string `json:"destroyed"`
}

// NodeReport tells what the node used.
type NodeReport struct {
	CPU            time.Duration `json:"cpu_ns"`
	CPUPerDelivery time.Duration `json:"cpu_per_delivery_ns"`
	RSSBefore      int64         `json:"rss_before"`
	RSSAfter       int64         `json:"rss_after"`
	RSSPeak        int64         `json:"rss_peak"`
	RSSPerVisitor  int64         `json:"rss_per_visitor"` // growth to the peak
}

// OK reports whether nothing went wrong.
func (r *Report) OK() bool { return len(r.Problems) == 0 }

// fill completes the report of a run that is over.
func (r *run) fill(rep *Report, before Usage) {
	rep.Took = time.Since(rep.Began)
	r.Swarm.fill(rep, r.Visitors)
	presences, lines := r.Ledger.Published(RoleParticipant | RoleVisitor | RoleFocus)
	rep.Delivery.Presences, rep.Delivery.Lines = presences, lines
	rep.Delivery.PerSecond = perSecond(rep.Delivery.Tally.Delivered, rep.Took)
	_, rep.Main.Lines = r.Ledger.Published(RoleVisitor)
	rep.Main.Tally, rep.Main.Faults = r.Conference.Heard(), r.Conference.Faults()
	if r.room != nil {
		_, rep.Focus.Visitors = r.room.Visitors()
		_, rep.Focus.Destroyed = r.room.Destroyed()
	}
	if after := r.usage(); !before.At.IsZero() && !after.At.IsZero() {
		rep.Node = nodeReport(before, after, rep)
	}
	rep.LoadCPU = ownCPU() - r.loadBefore
	rep.Problems = append(r.problems, rep.verdict()...)
}

func nodeReport(before, after Usage, rep *Report) *NodeReport {
	n := &NodeReport{CPU: after.CPU - before.CPU, RSSBefore: before.RSS, RSSAfter: after.RSS, RSSPeak: after.PeakRSS}
	if d := rep.Delivery.Tally.Delivered; d > 0 {
		n.CPUPerDelivery = n.CPU / time.Duration(d)
	}
	if v := rep.Visitors.Joined; v > 0 {
		n.RSSPerVisitor = (n.RSSPeak - n.RSSBefore) / int64(v)
	}
	return n
}

// fill adds what the swarm knows.
func (s *Swarm) fill(rep *Report, wanted int) {
	v := VisitorReport{Wanted: wanted, Join: s.joins.quantiles(), Destroyed: make(map[string]int)}
	for _, one := range s.Visitors() {
		rep.Delivery.Tally.Add(one.Tally())
		if one.o.isJoined() {
			v.Joined++
		}
		end, _ := one.Ended()
		switch {
		case end.Err != nil:
			v.Broken++
			if v.FirstError == "" {
				v.FirstError = end.Err.Error()
			}
		case end.Destroyed:
			v.Destroyed[end.Reason]++
		case end.Left:
			v.Left++
		}
	}
	s.mu.Lock()
	v.JoinsPerSecond = perSecond(uint64(v.Joined), s.joinEnded.Sub(s.joinBegan))
	s.mu.Unlock()
	rep.Visitors = v
	rep.Delivery.Latency = s.delivery.quantiles()
	rep.Resumed = s.outages.sum()
}

func perSecond(n uint64, d time.Duration) float64 {
	if d <= 0 {
		return 0
	}
	return float64(n) / d.Seconds()
}

// verdict compares what happened with what must have.
func (rep *Report) verdict() []string {
	var p []string
	check := func(ok bool, format string, args ...any) {
		if !ok {
			p = append(p, fmt.Sprintf(format, args...))
		}
	}
	v := rep.Visitors
	check(v.Joined == v.Wanted, "%d of %d visitors joined", v.Joined, v.Wanted)
	check(v.Broken == 0, "%d visitors' sessions broke: %s", v.Broken, v.FirstError)
	check(rep.Resumed.Resumed == rep.Resumed.Cuts, "%d of %d sessions were resumed after a lost connection", rep.Resumed.Resumed, rep.Resumed.Cuts)
	ended := v.Left
	for reason, n := range v.Destroyed {
		check(reason != "", "%d visitors were not given the reason of the room's end", n)
		ended += n
	}
	check(ended+v.Broken >= v.Joined, "%d visitors were not told that the room ended", v.Joined-ended-v.Broken)
	for _, who := range []struct {
		name string
		t    Tally
	}{{"visitors", rep.Delivery.Tally}, {"main", rep.Main.Tally}} {
		check(who.t.Faults() == 0, "%s got: %s", who.name, who.t.faultText())
	}
	check(v.Wanted == 0 || rep.Delivery.Tally.Delivered > 0, "no visitor got anything")
	check(rep.Main.Lines == 0 || rep.Main.Tally.Delivered > 0, "main got no line of a visitor")
	check(rep.Focus.Visitors == v.Joined, "the focus saw %d visitors, %d joined", rep.Focus.Visitors, v.Joined)
	for _, f := range rep.Main.Faults {
		p = append(p, "main: "+f)
	}
	return p
}

func (t *Tally) faultText() string {
	return fmt.Sprintf("lost %d, duplicate %d, out of order %d, misaddressed %d, unexpected %d, errors %d",
		t.Lost, t.Duplicate, t.OutOfOrder, t.Misaddressed, t.Unexpected, t.Errors)
}

// WriteJSON writes the report as one indented JSON object.
func (rep *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(rep)
}

// WriteTable writes the report for people.
func (rep *Report) WriteTable(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...))
	}
	v, d := rep.Visitors, rep.Delivery
	row("run", "%s, %s", rep.Name, round(rep.Took))
	row("visitors", "%d of %d joined, %.0f/s", v.Joined, v.Wanted, v.JoinsPerSecond)
	row("time to join", "%s", v.Join)
	row("published", "%d presences, %d chat lines (%d by visitors)", d.Presences, d.Lines, rep.Main.Lines)
	row("delivered to visitors", "%d stanzas, %.0f/s", d.Tally.Delivered, d.PerSecond)
	row("  latency", "%s", d.Latency)
	row("  faults", "%s", d.Tally.faultText())
	if cut := rep.Resumed; cut.Cuts > 0 {
		row("lost connections", "resumed %d of %d, %s", cut.Resumed, cut.Cuts, cut.Took)
	}
	row("delivered to main", "%d lines, every receiver there counted", rep.Main.Tally.Delivered)
	row("  faults", "%s", rep.Main.Tally.faultText())
	row("seen by the focus", "%d visitors", rep.Focus.Visitors)
	for _, reason := range sortedKeys(v.Destroyed) {
		row("room destroyed", "%q, told to %d visitors", reason, v.Destroyed[reason])
	}
	if n := rep.Node; n != nil {
		row("node CPU", "%s, %s per delivery", round(n.CPU), n.CPUPerDelivery.Round(100*time.Nanosecond))
		row("node memory", "%s before, %s at the peak (%s per visitor), %s after",
			size(n.RSSBefore), size(n.RSSPeak), size(n.RSSPerVisitor), size(n.RSSAfter))
	}
	row("CPU of the load itself", "%s", round(rep.LoadCPU))
	for _, p := range rep.Problems {
		row("PROBLEM", "%s", p)
	}
	return t.Flush()
}

// String returns the quantiles for people.
func (q Quantiles) String() string {
	if q.Count == 0 {
		return "not measured"
	}
	return fmt.Sprintf("p50 %s, p95 %s, p99 %s, max %s", round(q.P50), round(q.P95), round(q.P99), round(q.Max))
}

// round keeps about three digits.
func round(d time.Duration) time.Duration {
	unit := time.Microsecond
	switch {
	case d >= 10*time.Second:
		unit = 100 * time.Millisecond
	case d >= time.Second:
		unit = 10 * time.Millisecond
	case d >= 10*time.Millisecond:
		unit = 100 * time.Microsecond
	}
	return d.Round(unit)
}

func size(n int64) string {
	if n < 1<<20 && n > -1<<20 {
		return fmt.Sprintf("%.1f KB", float64(n)/(1<<10))
	}
	return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
}

func sortedKeys(m map[string]int) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}
