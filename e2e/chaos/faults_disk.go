package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// diskFaults fill Docker's disk, which is the machine's own, with files that do not belong to
// Docker.
func (w *world) diskFaults() []scenario.Fault {
	var files []func() error
	fill := func(leave int64) step {
		return func(context.Context) error {
			remove, err := w.machine.FillDisk(leave)
			if err == nil {
				files = append(files, remove)
			}
			return err
		}
	}
	empty := func(context.Context) (err error) {
		for _, remove := range files {
			err = errors.Join(err, remove())
		}
		files = nil
		return err
	}
	const floor = 1_500_000_000
	critical := alert("GhostrunnerDiskCritical")
	enough := w.holds(`min(ghostrunner_disk_free_bytes) > min(ghostrunner_threshold{name="disk_prune_bytes"})`)
	return []scenario.Fault{
		scenario.DiskLow(w.Stack),
		{
			Name: "disk below the floor", Description: "only 1.5 GB are left",
			Inject: fill(floor),
			Metric: "min(ghostrunner_disk_free_bytes) < 2e9", Alert: critical,
			Allowed: []string{"prune engine"}, Remove: empty, Healed: enough,
		}, {
			// Prometheus stores its samples on the same disk, so the alert must fire before it is
			// full.
			Name: "disk full", Description: "first 1.5 GB are left, then nothing: Prometheus cannot store a sample any more",
			Inject: sequence(fill(floor), await("GhostrunnerDiskCritical", func(ctx context.Context) (bool, error) {
				return w.AlertActive(ctx, critical)
			}), fill(0), w.serversSurvive(15*time.Second)),
			Allowed: []string{"prune engine"}, Remove: empty, Healed: both(enough, w.runnersOnline()), MaxJobsLost: 2,
		},
	}
}

// serversSurvive checks for a while that exporter and remediator answer and are not restarted.
func (w *world) serversSurvive(d time.Duration) step {
	return func(ctx context.Context) error {
		starts := func(ctx context.Context) (string, error) {
			return w.Docker(ctx, "inspect", "--format={{.State.StartedAt}}", w.service("exporter"), w.service("remediator"))
		}
		before, err := starts(ctx)
		if err != nil {
			return err
		}
		return checkFor(ctx, d, func(ctx context.Context) error {
			for _, port := range []int{w.Ports.Exporter, w.Ports.Remediator} {
				if status, _, err := w.Get(ctx, port, "/-/healthy"); err != nil || status != http.StatusOK {
					return fmt.Errorf("port %d: status %d: %w", port, status, err)
				}
			}
			if now, err := starts(ctx); err != nil || now != before {
				return fmt.Errorf("restarted: %s, before %s (%w)", now, before, err)
			}
			return nil
		})
	}
}
