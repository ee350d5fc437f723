package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
)

// figure is one measurement, and what it may be at most. No budget: it is told only.
type figure struct {
	of, unit         string
	measured, budget float64
}

func report(out io.Writer, all []figure) {
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "FIGURE\tMEASURED\tBUDGET\tUNIT")
	for _, f := range all {
		budget := "-"
		if f.budget > 0 {
			budget = fmt.Sprint(f.budget)
		}
		fmt.Fprintf(w, "%s\t%.3g\t%s\t%s\n", f.of, f.measured, budget, f.unit)
	}
	_ = w.Flush()
}

// broken joins the budgets that were not kept.
func broken(all []figure) error {
	var errs []error
	for _, f := range all {
		if f.budget > 0 && f.measured > f.budget {
			errs = append(errs, fmt.Errorf("%s: %.3g %s, the budget is %v", f.of, f.measured, f.unit, f.budget))
		}
	}
	return errors.Join(errs...)
}
