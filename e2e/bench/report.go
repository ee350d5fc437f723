package main

import (
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"text/tabwriter"
	"time"
)

// report is everything that was measured.
type report struct {
	Cycles []cycle `json:"cycles"`
	// Idle is a stretch without any fault, Busy that of the cycles.
	Idle  cost   `json:"idle"`
	Busy  cost   `json:"busy"`
	Rival *rival `json:"rival,omitempty"`
	// Load is the machine's load average at the beginning and at the end.
	Load [2]float64 `json:"load"`
}

// quantile is the smallest reaction that the fraction q of all does not exceed (nearest rank).
func quantile(values []time.Duration, q float64) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max(int(math.Ceil(q*float64(len(sorted)))), 1)-1]
}

// pick takes one figure of each cycle, of one phase or (0) of all.
func (r *report) pick(phase int, of func(cycle) time.Duration) []time.Duration {
	var out []time.Duration
	for _, c := range r.Cycles {
		if phase == 0 || c.Phase == phase {
			out = append(out, of(c))
		}
	}
	return out
}

func reaction(c cycle) time.Duration { return c.Reaction }

// broken joins the budgets that were not kept.
func (r *report) broken() error {
	var errs []error
	all := r.pick(0, reaction)
	if median := quantile(all, 0.5); median > budgetMedian {
		errs = append(errs, fmt.Errorf("half of the reactions took more than %s, the budget is %s", millis(median), budgetMedian))
	}
	if slowest := quantile(all, 1); slowest > budgetSlowest {
		errs = append(errs, fmt.Errorf("the slowest reaction took %s, the budget is %s", millis(slowest), budgetSlowest))
	}
	if cpu := r.Idle.total(); cpu > budgetCPU {
		errs = append(errs, fmt.Errorf("%.2f CPU seconds a minute, the budget is %.2f", cpu, budgetCPU))
	}
	return errors.Join(errs...)
}

func (r *report) print(out io.Writer) {
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "FROM UNHEALTHY TO ORDER\tcycles\tp50\tp90\tmax\t")
	line := func(name string, values []time.Duration) {
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\t%s\t\n", name, len(values), millis(quantile(values, 0.5)), millis(quantile(values, 0.9)), millis(quantile(values, 1)))
	}
	line("reaction", r.pick(0, reaction))
	line("judged by Prometheus", r.pick(0, func(c cycle) time.Duration { return c.Judged }))
	line("routed by Alertmanager", r.pick(0, func(c cycle) time.Duration { return c.Routed }))
	line("decided by the remediator", r.pick(0, func(c cycle) time.Duration { return c.Decided }))
	line("ordered from Docker", r.pick(0, func(c cycle) time.Duration { return c.Ordered }))
	for phase := 1; len(r.pick(phase, reaction)) > 0; phase++ {
		line(fmt.Sprintf("reaction in phase %d", phase), r.pick(phase, reaction))
	}
	if r.Rival != nil {
		line("the other healer", r.Rival.Reactions)
	}
	fmt.Fprintf(w, "budget\t\t%s\t\t%s\t\n", millis(budgetMedian), millis(budgetSlowest))
	_ = w.Flush()

	fmt.Fprintln(out)
	w = tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "CPU SECONDS A MINUTE\tidle\tduring the cycles\tresident\t")
	for _, p := range programs {
		fmt.Fprintf(w, "%s\t%.3f\t%.3f\t%.0f MB\t\n", p, r.Idle.cpuPerMinute(p), r.Busy.cpuPerMinute(p), r.Busy.Resident[p]/1e6)
	}
	fmt.Fprintf(w, "together\t%.3f\t%.3f\t\t\n", r.Idle.total(), r.Busy.total())
	if r.Rival != nil {
		fmt.Fprintf(w, "the other healer\t\t%.3f\t\t\n", r.Rival.CPU/r.Rival.Seconds*60)
	}
	fmt.Fprintf(w, "budget\t%.3f\t\t\t\n", budgetCPU)
	_ = w.Flush()

	perSecond := r.Idle.Samples / r.Idle.Seconds
	fmt.Fprintf(out, "\n%.0f samples a second, %.1f million a day; load average %.2f before, %.2f after\n", perSecond, perSecond*86400/1e6, r.Load[0], r.Load[1])
}

func millis(d time.Duration) string { return d.Round(time.Millisecond).String() }
