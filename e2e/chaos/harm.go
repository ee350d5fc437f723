package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/guest"
	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// A job is queued at this interval, for any runner: nearly always one runner is busy and can be
// harmed, and one is idle and can be healed.
const (
	jobInterval = 4 * time.Second
	jobDuration = 1500 * time.Millisecond
	// maxQueued bounds the jobs that wait for the end of an outage.
	maxQueued = 4
)

// foreign is the number of containers beside the stack that have no label of ours.
var foreign = map[bool]int{false: 20, true: 2}[guest.Inside()]

// harm counts jobs that did not succeed, and detects changes to foreign containers.
type harm struct {
	w       *world
	started string // start time and process of each foreign container
	queued  int
}

// newHarm starts the foreign containers and the jobs.
func newHarm(ctx context.Context, w *world) (*harm, error) {
	h := &harm{w: w}
	image, err := w.VictimImage(ctx)
	if err != nil {
		return nil, err
	}
	for i := range foreign {
		if _, err := w.Docker(ctx, "run", "--detach", "--no-healthcheck", "--network=none", fmt.Sprintf("--name=foreign-%d", i), image); err != nil {
			return nil, err
		}
	}
	if h.started, err = h.foreignState(ctx); err != nil {
		return nil, err
	}
	go h.queueJobs(ctx)
	return h, nil
}

// foreignState changes if a foreign container is restarted, stopped or removed.
func (h *harm) foreignState(ctx context.Context) (string, error) {
	args := []string{"inspect", "--format={{.Name}} {{.State.StartedAt}} {{.State.Pid}} {{.State.Running}}"}
	for i := range foreign {
		args = append(args, fmt.Sprintf("foreign-%d", i))
	}
	return h.w.Docker(ctx, args...)
}

func (h *harm) queueJobs(ctx context.Context) {
	tick := time.NewTicker(jobInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		h.queueJob(ctx)
	}
}

func (h *harm) queueJob(ctx context.Context) {
	h.w.jobs.Lock()
	defer h.w.jobs.Unlock()
	state, err := h.w.Lab().State(ctx)
	if err != nil || len(state.Queued) >= maxQueued {
		return // no runner takes jobs, or the fault affects the lab
	}
	h.queued++
	_ = h.w.Job(ctx, fmt.Sprintf("build (%d)", h.queued), "", jobDuration) // the fault may affect the lab
}

// jobsFailed counts the jobs that were handed out and did not succeed.
func (h *harm) jobsFailed(ctx context.Context) (jobs int, err error) {
	state, err := h.w.Lab().State(ctx)
	for result, n := range state.CompletedTotal {
		if result != "Succeeded" {
			jobs += int(n)
		}
	}
	return jobs, err
}

// check returns the jobs that failed since then beyond what the fault may interrupt, and an error
// if there are any or a foreign container changed.
func (h *harm) check(ctx context.Context, f scenario.Fault, before int) (harmed int, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	after, err := h.jobsFailed(ctx)
	if err != nil {
		return 0, err
	}
	failed := after - before
	if failed > f.MaxJobsLost {
		err = fmt.Errorf("%d jobs did not succeed, of which the fault explains %d", failed, f.MaxJobsLost)
	}
	now, stateErr := h.foreignState(ctx)
	if stateErr == nil && now != h.started {
		stateErr = fmt.Errorf("a foreign container changed:\n%s\nbefore:\n%s", now, h.started)
	}
	return max(failed-f.MaxJobsLost, 0), errors.Join(err, stateErr)
}
