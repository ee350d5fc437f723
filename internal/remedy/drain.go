package remedy

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// hardTimeout is what an idle container that ignored SIGTERM for a whole grace
// period is given once more before it is killed.
const hardTimeout = 2 * time.Second

// errGone is a container that no longer exists.
var errGone = errors.New("the container no longer exists")

// find looks the container up afresh.
func (r *Remediator) find(ctx context.Context, id string) (Container, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := r.opts.Docker.Containers(ctx)
	if err != nil {
		return Container{}, err
	}
	for _, c := range list {
		if c.ID == id {
			return c, nil
		}
	}
	return Container{}, errGone
}

// drained is how a drain ended.
type drained int

const (
	drainedDown drained = iota // it left by itself
	drainedIdle                // it still runs after the grace, and no job with it
	drainedBusy                // a job runs: wait for it, however long it takes
	drainedBlind
)

// drain waits until the container that was sent SIGTERM is down, or has been seen
// without a job for a whole grace period. A job that began in the last instant
// makes it wait until ctx ends; it never cuts one. The supervisor in a runner
// first deletes its registration at GitHub, which is refused while a job runs, so
// no job can begin after that.
//
// An error means that the container is gone; else the result says what was last seen.
func (r *Remediator) drain(ctx context.Context, id string, note func(string, ...any)) (drained, error) {
	var (
		idleSince = time.Now()
		last      = drainedIdle
		tick      = time.NewTicker(r.opts.PollInterval)
	)
	defer tick.Stop()
	for {
		c, err := r.find(ctx, id)
		switch {
		case errors.Is(err, errGone):
			return drainedDown, err
		case err != nil:
			last = drainedBlind
		case c.Down():
			return drainedDown, nil
		default:
			l, err := probe(ctx, r.opts.Docker, c)
			switch {
			case err != nil:
				last = drainedBlind
			case l == loadBusy:
				if last != drainedBusy {
					note("a job runs: waiting for it")
				}
				last = drainedBusy
			default:
				if last != drainedIdle {
					idleSince = time.Now()
				}
				last = drainedIdle
				if time.Since(idleSince) >= r.opts.RestartGrace {
					return drainedIdle, nil
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if last == drainedIdle { // the grace was not over: treat it as not known
				last = drainedBlind
			}
			return last, nil
		}
	}
}

// takeDown asks a runner to leave and waits for it. It returns true if the
// container is down, false if it is idle and ignores the signal.
func (r *Remediator) takeDown(ctx context.Context, a *Attempt) (down bool, err error) {
	id := a.Plan.Container.ID
	c, err := r.find(ctx, id)
	switch {
	case errors.Is(err, errGone):
		return false, a.fail(FailGone, "", err)
	case err != nil:
		return false, a.fail(FailEngine, "", fmt.Errorf("list: %w", err))
	case c.Down():
		a.Note("was %s already", c.State)
		r.setPhase(ctx, a.debt, PhaseDown)
		return true, nil
	}
	switch err := r.call(ctx, func(ctx context.Context) error { return r.opts.Docker.Terminate(ctx, id) }); {
	case err == nil:
		a.Note("sent SIGTERM")
	case c.Running():
		// It may have left between the two calls. If not, it may not know that it is
		// to leave, and take a job at any time: it is asked again, not killed.
		if c, look := r.find(ctx, id); look != nil || !c.Down() {
			return false, a.fail(FailEngine, "it is tried again", fmt.Errorf("SIGTERM: %w", err))
		}
	}
	r.setPhase(ctx, a.debt, PhaseTerminated)
	began := time.Now()
	how, err := r.drain(ctx, id, a.Note)
	if err != nil {
		return false, a.fail(FailGone, "", err)
	}
	took := time.Since(began).Round(10 * time.Millisecond)
	switch how {
	case drainedDown:
		a.Note("left by itself after %s", took)
		r.setPhase(ctx, a.debt, PhaseDown)
		return true, nil
	case drainedIdle:
		a.Note("still runs after %s, no job in it", took)
		return false, nil
	case drainedBusy:
		a.Note("a job still runs after %s: nothing is killed", took)
		return false, a.fail(FailBusy, "it is started again when the job is over", nil)
	default:
		a.Note("could not be looked into for %s: nothing is killed", took)
		return false, a.fail(FailUnknown, "it is started again when it is down", nil)
	}
}

// call runs one changing call on Docker, bounded.
func (r *Remediator) call(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout+hardTimeout)
	defer cancel()
	return fn(ctx)
}
