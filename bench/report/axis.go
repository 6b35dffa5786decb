package report

import (
	"fmt"
	"math"
)

// axis maps values to a stretch of the drawing.
type axis struct {
	lo, hi   float64 // of the values; both positive for a logarithm
	log      bool
	from, to float64 // of the drawing
	format   func(float64) string
}

func (a axis) at(v float64) float64 {
	lo, hi := a.lo, a.hi
	if a.log {
		v, lo, hi = math.Log10(max(v, a.lo)), math.Log10(lo), math.Log10(hi)
	}
	if hi == lo {
		return a.from
	}
	return a.from + (v-lo)/(hi-lo)*(a.to-a.from)
}

// tick is a mark on an axis.
type tick struct {
	value float64
	label string
}

// ticks are round numbers, few enough to be read.
func (a axis) ticks() []tick {
	if a.log {
		return a.logTicks()
	}
	step := niceStep((a.hi - a.lo) / 4)
	var all []tick
	for v := math.Ceil(a.lo/step) * step; v <= a.hi*(1+1e-9); v += step {
		all = append(all, tick{v, a.format(v)})
	}
	return all
}

func (a axis) logTicks() []tick {
	parts := []float64{1}
	every := 1
	switch decades := math.Log10(a.hi / a.lo); {
	case decades < 1.2:
		parts = []float64{1, 2, 3, 5, 7}
	case decades < 2.6:
		parts = []float64{1, 2, 5}
	case decades > 6:
		every = 2
	}
	var all []tick
	for e := int(math.Floor(math.Log10(a.lo))); e <= int(math.Ceil(math.Log10(a.hi))); e += every {
		for _, p := range parts {
			if v := p * math.Pow(10, float64(e)); v >= a.lo*(1-1e-9) && v <= a.hi*(1+1e-9) {
				all = append(all, tick{v, a.format(v)})
			}
		}
	}
	return all
}

// niceStep is the 1, 2 or 5 times a power of ten that is not below v.
func niceStep(v float64) float64 {
	if v <= 0 {
		return 1
	}
	unit := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 5} {
		if f*unit >= v*(1-1e-9) {
			return f * unit
		}
	}
	return 10 * unit
}

// bounds are the least and the greatest of positive values; ok is false when
// there are none.
func bounds(values []float64) (lo, hi float64, ok bool) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, v := range values {
		if v > 0 {
			lo, hi = min(lo, v), max(hi, v)
		}
	}
	return lo, hi, hi > 0
}

// logRange widens bounds to where a logarithmic axis looks well: to 1, 2 or 5
// times a power of ten.
func logRange(lo, hi float64) (float64, float64) {
	down := math.Pow(10, math.Floor(math.Log10(lo)))
	for _, f := range []float64{5, 2, 1} {
		if f*down <= lo*(1+1e-9) {
			down *= f
			break
		}
	}
	up := niceStep(hi)
	if up == down {
		up *= 2
	}
	return down, up
}

// tickFormat formats values of a metric on an axis: shorter than in tables.
func tickFormat(m Metric) func(float64) string {
	gap, after := "", Unit("")
	if m.Unit == Bytes || m.Unit == BytesPerSecond {
		gap, after = " ", m.Unit
	}
	return func(v float64) string {
		switch m.Unit {
		case Seconds:
			for _, u := range []struct {
				least float64
				unit  string
			}{{1, "s"}, {1e-3, "ms"}, {1e-6, "µs"}} {
				if v >= u.least*(1-1e-9) {
					return short(v/u.least) + " " + u.unit
				}
			}
			if v == 0 {
				return "0"
			}
			return short(v/1e-9) + " ns"
		}
		for _, u := range []struct {
			least float64
			unit  string
		}{{1e9, "G"}, {1e6, "M"}, {1e3, "k"}} {
			if v >= u.least*(1-1e-9) {
				return short(v/u.least) + gap + u.unit + string(after)
			}
		}
		return short(v) + gap + string(after)
	}
}

func short(v float64) string { return fmt.Sprintf("%.3g", v) }
