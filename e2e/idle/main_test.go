package main

import (
	"io"
	"strings"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// TestBudgets keeps each budget exactly, and then breaks it by the least that is printed.
func TestBudgets(t *testing.T) {
	build := func(own, others float64, bytes uint64) error {
		begin := time.Now()
		seconds := func(s float64) time.Duration { return time.Duration(2 * s * float64(time.Second)) } // of two minutes
		return newReport(
			moment{at: begin, usage: map[string]stack.Usage{"exporter": {CPU: time.Hour}, "prometheus": {}, "lab": {}}},
			moment{at: begin.Add(2 * time.Minute), usage: map[string]stack.Usage{
				"exporter": {CPU: time.Hour + seconds(own), Memory: bytes}, "prometheus": {CPU: seconds(others), Memory: 1 << 40}, "lab": {CPU: time.Hour},
			}},
		).print(io.Discard)
	}
	if err := build(budgetOurs-1e-6, budgetWhole-budgetOurs-1e-6, budgetBytes); err != nil {
		t.Errorf("the budgets exactly kept: %v", err)
	}
	for want, err := range map[string]error{
		"own programs take 0.601 CPU seconds a minute": build(budgetOurs+0.001, 0, 0),
		"the whole stack": build(0, budgetWhole+0.001, 0),
		"MB":              build(0, 0, budgetBytes+1e5),
	} {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("got %v, want one line with %q", err, want)
		}
	}
}
