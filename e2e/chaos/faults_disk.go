package main

import (
	"context"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// diskFaults fill Docker's disk, which is the machine's own.
func (w *world) diskFaults() []scenario.Fault {
	empty := func() error { return nil }
	low := `min(ghostrunner_disk_free_bytes) > min(ghostrunner_threshold{name="disk_prune_bytes"})`
	fill := func(leave int64) func(context.Context) error {
		return func(context.Context) error {
			undo, err := w.machine.FillDisk(leave)
			if err == nil {
				empty = undo
			}
			return err
		}
	}
	clear := act(func(context.Context) error { return empty() })
	return []scenario.Fault{
		scenario.DiskLow(),
		{
			Name: "disk below the floor", Story: "only 1.5 GB are left, by files that are none of Docker's",
			Break:  act(fill(1_500_000_000)),
			Metric: "min(ghostrunner_disk_free_bytes) < 2e9", Alert: alert("GhostrunnerDiskCritical"),
			Also: []string{"prune engine"}, Mend: clear, Healed: state(w.holds(low)),
		}, {
			// Prometheus keeps its samples on the same disk and cannot tell any more: it has told at 10 GB and at 2 GB.
			Name: "disk full", Story: "not a byte is left: neither the journal nor Prometheus can write, and the remediator is not ready",
			Break: inTurn(act(fill(0)), w.notReady),
			Also:  []string{"prune engine"}, Mend: clear, Healed: both(state(w.holds(low+" and on() ghostrunner_remediator_journal_up == 1")), runnersOnline()), Costs: 2,
		},
	}
}
