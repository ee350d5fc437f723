// Package measure is what every measurement of this tree has in common: figures with their budgets, told as a table, as JSON and
// as Go benchmarks, and how to start one of our programs and read what it takes.
package measure

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Units of figures, by the names that Go benchmarks have for them.
const (
	Seconds        = "sec/op"
	CPUSeconds     = "cpu-sec/op"
	CPUPerMinute   = "cpu-sec/min" // seconds of one core a minute
	Bytes          = "B"
	Allocated      = "B/op"
	BytesPerSecond = "B/s"
	PerSecond      = "ops/s"
	Count          = "count"
)

// Figure is one thing that was measured.
type Figure struct {
	// Part is the part of the run that it belongs to, Name what it is within that: together they tell it from every other.
	Part   string  `json:"part"`
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Budget *Budget `json:"budget,omitempty"`
	// Samples are the single values that Value was made of, where comparing two runs wants them.
	Samples []float64 `json:"samples,omitempty"`
}

// Budget is what a figure must keep.
type Budget struct {
	Bound float64 `json:"bound"`
	// Least: the bound is the least that is allowed. False: it is the most.
	Least bool `json:"least,omitempty"`
}

// AtMost is a budget that a greater figure breaks.
func AtMost(bound float64) *Budget { return &Budget{Bound: bound} }

// AtLeast is a budget that a smaller figure breaks.
func AtLeast(bound float64) *Budget { return &Budget{Bound: bound, Least: true} }

// Broken reports whether the figure has a budget and does not keep it. What is no number keeps none.
func (f Figure) Broken() bool {
	switch {
	case f.Budget == nil:
		return false
	case f.Budget.Least:
		return !(f.Value >= f.Budget.Bound)
	}
	return !(f.Value <= f.Budget.Bound)
}

// Broken joins an error for each budget that was not kept.
func Broken(all []Figure) error {
	var errs []error
	for _, f := range all {
		if f.Broken() {
			errs = append(errs, fmt.Errorf("%s, %s: %s, the budget is %s", f.Part, f.Name, show(f.Value, f.Unit), f.budget()))
		}
	}
	return errors.Join(errs...)
}

// Quantile is the smallest of the values that the fraction q of all does not exceed (nearest rank); not a number if there are none.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(int(math.Ceil(q*float64(len(sorted)))), 1)-1]
}

// PerMinute is CPU time over a stretch of time, in seconds a minute.
func PerMinute(cpu, stretch time.Duration) float64 { return cpu.Minutes() * 60 / stretch.Minutes() }
