package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// diskFaults fill Docker's disk, which is the machine's own, with files that are none of Docker's.
func (w *world) diskFaults() []scenario.Fault {
	var undo []func() error
	fill := func(leave int64) step {
		return act(func(context.Context) error {
			empty, err := w.machine.FillDisk(leave)
			if err == nil {
				undo = append(undo, empty)
			}
			return err
		})
	}
	empty := act(func(context.Context) (err error) {
		for _, one := range undo {
			err = errors.Join(err, one())
		}
		undo = nil
		return err
	})
	const floor = 1_500_000_000
	critical := alert("GhostrunnerDiskCritical")
	enough := state(w.holds(`min(ghostrunner_disk_free_bytes) > min(ghostrunner_threshold{name="disk_prune_bytes"})`))
	return []scenario.Fault{
		scenario.DiskLow(),
		{
			Name: "disk below the floor", Story: "only 1.5 GB are left",
			Break:  fill(floor),
			Metric: "min(ghostrunner_disk_free_bytes) < 2e9", Alert: critical,
			Also: []string{"prune engine"}, Mend: empty, Healed: enough,
		}, {
			// Prometheus keeps its samples on the same disk: what it can tell, it has to tell before the last byte is gone.
			Name: "disk full", Story: "first 1.5 GB are left, then not a byte: Prometheus cannot store a sample any more",
			Break: inTurn(fill(floor), act(func(ctx context.Context) error {
				return stack.Await(ctx, "the alert about it", func(ctx context.Context) (bool, error) { return w.AlertActive(ctx, critical) })
			}), fill(0), w.stands(15*time.Second)),
			Also: []string{"prune engine"}, Mend: empty, Healed: both(enough, runnersOnline()), Costs: 2,
		},
	}
}

// stands demands that our two servers go on, as the same processes, for a while.
func (w *world) stands(d time.Duration) step {
	return act(func(ctx context.Context) error {
		lives := func(ctx context.Context) (string, error) {
			return w.Docker(ctx, "inspect", "--format={{.State.StartedAt}}", w.service("exporter"), w.service("remediator"))
		}
		before, err := lives(ctx)
		if err != nil {
			return err
		}
		return watch(ctx, d, func(ctx context.Context) error {
			for _, port := range []int{w.Ports.Exporter, w.Ports.Remediator} {
				if status, _, err := w.Get(ctx, port, "/-/healthy"); err != nil || status != http.StatusOK {
					return fmt.Errorf("port %d: status %d: %w", port, status, err)
				}
			}
			if now, err := lives(ctx); err != nil || now != before {
				return fmt.Errorf("restarted: %s, before %s (%w)", now, before, err)
			}
			return nil
		})
	})
}
