package e2e_test

import (
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// Every fault of the demo is detected, answered by the right action or none, and healed.
func TestFaultsAreHealed(t *testing.T) {
	if _, err := scenario.Jobs(t.Context(), system); err != nil {
		t.Fatalf("no jobs before the faults: %v", err)
	}
	for _, fault := range scenario.Faults(system) {
		t.Run(fault.Name, func(t *testing.T) {
			reaction := runFault(t, fault)
			// The budget is 2 s. A busy machine may take 4 s, and gets two more tries.
			for range 2 {
				if reaction > 4*time.Second {
					t.Logf("the order came %v after the event; try again", reaction)
					reaction = runFault(t, fault)
				}
			}
			if reaction > 4*time.Second {
				t.Errorf("the order came late three times, the last time %v after the event", reaction)
			}
		})
	}
	if _, err := scenario.Jobs(t.Context(), system); err != nil {
		t.Errorf("no jobs after the faults: %v", err)
	}
}

// runFault runs a fault and returns the time from Docker's unhealthy event to the order, or 0 if
// the fault has no order.
func runFault(t *testing.T, fault scenario.Fault) (reaction time.Duration) {
	t.Helper()
	r := scenario.Run(t.Context(), system, fault, func(kind, detail string, since time.Duration) {
		t.Logf("+%-8v %-7s %s", since.Round(time.Millisecond), kind, detail)
	})
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	if fault.OrderEvent == "" {
		return 0
	}
	reaction, ok := r.Reaction()
	if !ok {
		t.Fatalf("Docker's events do not show the unhealthy state and the %s that followed", fault.OrderEvent)
	}
	t.Logf("from Docker's unhealthy event to the restart order: %v", reaction)
	return reaction
}
