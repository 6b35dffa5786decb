package conference

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func good() *Report {
	return &Report{
		Name: "test", Took: 2 * time.Second,
		Visitors: VisitorReport{Wanted: 2, Joined: 2, Destroyed: map[string]int{"Conference ended.": 2}},
		Delivery: DeliveryReport{Tally: Tally{Delivered: 10}},
		Main:     MainReport{Lines: 1, Tally: Tally{Delivered: 1}},
		Focus:    FocusReport{Visitors: 2, Destroyed: "Conference ended."},
	}
}

func TestVerdict(t *testing.T) {
	require.Empty(t, good().verdict())
	for name, spoil := range map[string]func(*Report){
		"1 of 2 visitors joined":                        func(r *Report) { r.Visitors.Joined, r.Focus.Visitors = 1, 1 },
		"1 visitors' sessions broke: cut":               func(r *Report) { r.Visitors.Broken, r.Visitors.FirstError = 1, "cut" },
		"1 visitors were not told that the room ended":  func(r *Report) { r.Visitors.Destroyed["Conference ended."] = 1 },
		"2 visitors were not given the reason":          func(r *Report) { r.Visitors.Destroyed = map[string]int{"": 2} },
		"visitors got: lost 1,":                         func(r *Report) { r.Delivery.Tally.Lost = 1 },
		"visitors got: lost 0, duplicate 1":             func(r *Report) { r.Delivery.Tally.Duplicate = 1 },
		"main got: lost 0, duplicate 0, out of order 1": func(r *Report) { r.Main.Tally.OutOfOrder = 1 },
		"no visitor got anything":                       func(r *Report) { r.Delivery.Tally.Delivered = 0 },
		"main got no line":                              func(r *Report) { r.Main.Tally.Delivered = 0 },
		"the focus saw 1 visitors, 2 joined":            func(r *Report) { r.Focus.Visitors = 1 },
		"main: the node broke a rule":                   func(r *Report) { r.Main.Faults = []string{"the node broke a rule"} },
		"misaddressed 1, unexpected 0, errors 0":        func(r *Report) { r.Delivery.Tally.Misaddressed = 1 },
		"misaddressed 0, unexpected 1, errors 0":        func(r *Report) { r.Delivery.Tally.Unexpected = 1 },
		"misaddressed 0, unexpected 0, errors 1":        func(r *Report) { r.Delivery.Tally.Errors = 1 },
	} {
		r := good()
		spoil(r)
		require.Contains(t, strings.Join(r.verdict(), "\n"), name)
	}
}

func TestReportIsReadableByPeopleAndMachines(t *testing.T) {
	r := good()
	r.Problems = []string{"something"}
	r.Node = nodeReport(
		Usage{CPU: time.Second, RSS: 10 << 20, PeakRSS: 10 << 20},
		Usage{CPU: 3 * time.Second, RSS: 11 << 20, PeakRSS: 14 << 20}, r)
	require.Equal(t, 200*time.Millisecond, r.Node.CPUPerDelivery)
	require.EqualValues(t, 2<<20, r.Node.RSSPerVisitor)

	var table, text bytes.Buffer
	require.NoError(t, r.WriteTable(&table))
	for _, want := range []string{"2 of 2 joined", `"Conference ended.", told to 2 visitors`, "200ms per delivery", "14.0 MB at the peak", "PROBLEM"} {
		require.Contains(t, table.String(), want)
	}
	require.NoError(t, r.WriteJSON(&text))
	var back Report
	require.NoError(t, json.Unmarshal(text.Bytes(), &back))
	require.Equal(t, *r, back)
	require.False(t, back.OK())
}

func TestQuantilesOfKnownDurations(t *testing.T) {
	var r recorder
	require.Equal(t, "not measured", r.quantiles().String())
	for i := 1; i <= 1000; i++ {
		r.record(i, time.Duration(i)*time.Millisecond)
	}
	q := r.quantiles()
	require.EqualValues(t, 1000, q.Count)
	for _, c := range []struct{ got, want time.Duration }{
		{q.P50, 500 * time.Millisecond}, {q.P95, 950 * time.Millisecond}, {q.P99, 990 * time.Millisecond}, {q.Max, time.Second},
	} {
		require.InEpsilon(t, c.want, c.got, 0.002)
	}
	r.record(0, -time.Second)
	r.record(0, time.Hour)
	require.EqualValues(t, 1002, r.quantiles().Count, "what is out of range counts as the bound")
}

func TestMeterReadsThisProcess(t *testing.T) {
	m, err := NewMeter(os.Getpid())
	require.NoError(t, err)
	u, err := m.Read()
	require.NoError(t, err)
	require.Positive(t, u.RSS)
	require.GreaterOrEqual(t, u.PeakRSS, u.RSS/2)
	_, err = NewMeter(1 << 30)
	require.Error(t, err)
}
