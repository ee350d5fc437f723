package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/guest"
	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// A job each so often, to any runner: there is nearly always one that could be harmed, and nearly always an idle runner to be
// healed.
const (
	jobEvery = 4 * time.Second
	jobTakes = 1500 * time.Millisecond
	// maxQueued keeps an outage from piling up work for after it.
	maxQueued = 4
)

// foreign is how many containers that are none of our business run beside the stack, with no label of ours.
var foreign = map[bool]int{false: 20, true: 2}[guest.Inside()]

// referee counts the harm: jobs that did not succeed, and foreign containers that are not what they were.
type referee struct {
	w       *world
	started string // of the foreign containers: start time and process of each
	wg      sync.WaitGroup
	queued  int
}

// newReferee starts the foreign containers and the jobs.
func newReferee(ctx context.Context, w *world) (*referee, error) {
	r := &referee{w: w}
	image, err := foreignImage(ctx)
	if err != nil {
		return nil, err
	}
	for i := range foreign {
		if _, err := w.Docker(ctx, "run", "--detach", "--network=none", fmt.Sprintf("--name=foreign-%d", i), image); err != nil {
			return nil, err
		}
	}
	if r.started, err = r.runs(ctx); err != nil {
		return nil, err
	}
	r.wg.Go(func() { r.work(ctx) })
	return r, nil
}

// foreignImage is one with a program that sleeps.
func foreignImage(ctx context.Context) (string, error) {
	const name = "foreign:1"
	dir, err := os.MkdirTemp("", "foreign")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, "sleeper"), "./e2e/testdata/sleeper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the sleeper: %w\n%s", err, out)
	}
	load := exec.CommandContext(ctx, "sh", "-c", `tar -C "$0" -c sleeper | docker import --change 'ENTRYPOINT ["/sleeper"]' - `+name, dir)
	if out, err := load.CombinedOutput(); err != nil {
		return "", fmt.Errorf("import the sleeper: %w\n%s", err, out)
	}
	return name, nil
}

// runs identifies the one run of each foreign container.
func (r *referee) runs(ctx context.Context) (string, error) {
	args := []string{"inspect", "--format={{.Name}} {{.State.StartedAt}} {{.State.Pid}} {{.State.Running}}"}
	for i := range foreign {
		args = append(args, fmt.Sprintf("foreign-%d", i))
	}
	return r.w.Docker(ctx, args...)
}

// work queues jobs until ctx ends.
func (r *referee) work(ctx context.Context) {
	tick := time.NewTicker(jobEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r.queue(ctx)
	}
}

func (r *referee) queue(ctx context.Context) {
	r.w.jobs.Lock()
	defer r.w.jobs.Unlock()
	state, err := r.w.lab(ctx)
	if err != nil || len(state.Queued) >= maxQueued {
		return // the lab is being broken, or nobody works
	}
	r.queued++
	_ = r.w.Job(ctx, fmt.Sprintf("build (%d)", r.queued), "", jobTakes) // likewise
}

// harm is what must not grow: jobs that GitHub handed out and that did not succeed.
func (r *referee) harm(ctx context.Context) (jobs int, err error) {
	state, err := r.w.lab(ctx)
	for result, n := range state.CompletedTotal {
		if result != "Succeeded" {
			jobs += int(n)
		}
	}
	return jobs, err
}

// judge looks at the world after a fault: the jobs that it cost, and whether that and all else is as promised.
func (r *referee) judge(ctx context.Context, f scenario.Fault, before int) (harmed int, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	after, err := r.harm(ctx)
	if err != nil {
		return 0, err
	}
	harmed = after - before
	if harmed > f.Costs {
		err = fmt.Errorf("%d jobs did not succeed, of which the fault itself explains %d", harmed, f.Costs)
	}
	now, runsErr := r.runs(ctx)
	if runsErr == nil && now != r.started {
		runsErr = fmt.Errorf("a foreign container was touched:\n%s\nbefore:\n%s", now, r.started)
	}
	return max(harmed-f.Costs, 0), errors.Join(err, runsErr)
}
