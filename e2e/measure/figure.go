// Package measure is shared by all measurements: figures with budgets, printed as a table, as JSON
// and as Go benchmarks; and how to start a program and read its usage.
package measure

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// Units, named as in Go benchmarks.
const (
	Seconds        = "sec/op"
	CPUSeconds     = "cpu-sec/op"
	CPUPerMinute   = "cpu-sec/min" // seconds of one core per minute
	Bytes          = "B"
	Allocated      = "B/op"
	BytesPerSecond = "B/s"
	PerSecond      = "ops/s"
	Count          = "count"
)

// Figure is a measured value.
type Figure struct {
	// Part and Name identify the figure.
	Part   string  `json:"part"`
	Name   string  `json:"name"`
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`
	Budget *Budget `json:"budget,omitempty"`
	// Samples are the values from which Value was computed, for comparisons.
	Samples []float64 `json:"samples,omitempty"`
}

// Budget is the bound of a figure.
type Budget struct {
	Bound float64 `json:"bound"`
	// Least: Bound is the minimum. False: the maximum.
	Least bool `json:"least,omitempty"`
}

// AtMost is a budget with a maximum.
func AtMost(bound float64) *Budget { return &Budget{Bound: bound} }

// AtLeast is a budget with a minimum.
func AtLeast(bound float64) *Budget { return &Budget{Bound: bound, Least: true} }

// Broken reports whether the figure exceeds its budget. NaN does.
func (f Figure) Broken() bool {
	switch {
	case f.Budget == nil:
		return false
	case f.Budget.Least:
		return !(f.Value >= f.Budget.Bound)
	}
	return !(f.Value <= f.Budget.Bound)
}

// Broken returns an error for each figure that exceeds its budget.
func Broken(all []Figure) error {
	var errs []error
	for _, f := range all {
		if f.Broken() {
			errs = append(errs, fmt.Errorf("%s, %s: %s, the budget is %s", f.Part, f.Name, show(f.Value, f.Unit), f.budget()))
		}
	}
	return errors.Join(errs...)
}

// Quantile is the nearest-rank quantile q; NaN if there are no values.
func Quantile(values []float64, q float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(int(math.Ceil(q*float64(len(sorted)))), 1)-1]
}

// PerMinute is CPU time during a period, in seconds per minute.
func PerMinute(cpu, stretch time.Duration) float64 { return cpu.Minutes() * 60 / stretch.Minutes() }
