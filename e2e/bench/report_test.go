package main

import (
	"strings"
	"testing"
	"time"
)

func TestQuantile(t *testing.T) {
	values := []time.Duration{4, 1, 3, 2}
	for q, want := range map[float64]time.Duration{0: 1, 0.25: 1, 0.5: 2, 0.51: 3, 0.9: 4, 1: 4} {
		if got := quantile(values, q); got != want {
			t.Errorf("quantile %v of 1 to 4 is %d, want %d", q, got, want)
		}
	}
}

// TestBudgets keeps each budget exactly, and then breaks it by the least that can be measured.
func TestBudgets(t *testing.T) {
	build := func(median, slowest time.Duration, cpu float64) *report {
		return &report{
			Cycles: []cycle{{Reaction: median}, {Reaction: median}, {Reaction: slowest}},
			// Half of the CPU time each, over two minutes.
			Idle: cost{Seconds: 120, CPU: map[string]float64{"prometheus": cpu, "exporter": cpu}},
		}
	}
	if err := build(budgetMedian, budgetSlowest, budgetCPU).broken(); err != nil {
		t.Errorf("the budgets exactly kept: %v", err)
	}
	for want, r := range map[string]*report{
		"half of the reactions": build(budgetMedian+time.Millisecond, budgetSlowest, budgetCPU),
		"the slowest reaction":  build(budgetMedian, budgetSlowest+time.Millisecond, budgetCPU),
		"CPU seconds a minute":  build(budgetMedian, budgetSlowest, budgetCPU+0.01),
	} {
		err := r.broken()
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want one line with %q", err, want)
		}
	}
}

func TestParse(t *testing.T) {
	if o, err := parse(nil); err != nil || o.cycles != 50 {
		t.Errorf("without flags: %+v, %v; want 50 cycles", o, err)
	}
	for _, bad := range []string{"-cycles=0", "-phases=0", "-cycles=2 -phases=3", "-idle=1s", "more"} {
		if _, err := parse(strings.Fields(bad)); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}
