package remedy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

const (
	// stopTimeout is what an idle container that ignored SIGTERM for a whole grace period is given
	// once more before it is killed.
	stopTimeout = 2 * time.Second
	// serviceTimeout bounds the restart of a service within its own grace period.
	serviceTimeout = 2 * time.Minute
	// changeTimeout bounds the other changing calls. On a machine that has just woken up a start
	// needs far longer than anything else, and one that was given up on starts all the same:
	// history would call that a failure.
	changeTimeout = 42 * time.Second
)

// takeDown takes a running container down and returns the next step. An idle runner that ignores
// SIGTERM is restarted or stopped by Docker; a service always is.
func (r *reconciler) takeDown(ctx context.Context, a *attempt, c runner.Container) (step, error) {
	if c.Role == runner.RoleService {
		return r.restartService(ctx, a)
	}
	if !a.open || a.p.Phase == journal.PhaseIntent {
		if job, err := working(ctx, r.opts.Docker, c); job || err != nil {
			return stepWait, a.gaveUp(job, err)
		}
	}
	if a.p.Phase == journal.PhaseIntent {
		if err := r.terminate(ctx, a); err != nil {
			return stepWait, err
		}
	}
	began := time.Now()
	down, job, err := r.drain(ctx, a)
	took := time.Since(began).Round(10 * time.Millisecond)
	switch {
	case errors.Is(err, errGone):
		return stepWait, err
	case job || err != nil:
		a.note("given up after %s: nothing is killed", took)
		return stepWait, a.gaveUp(job, err)
	case down:
		a.note("exited after %s", took)
		r.setPhase(a, journal.PhaseDown)
	default:
		a.note("still runs after %s, no job in it", took)
	}
	p, ok := r.store.State().Starts[a.p.Target] // with a length that a reset may have changed
	switch now := r.opts.now(); {
	case !ok || now.Left(p.Instant, p.Length) == 0:
		if err := r.start(ctx, a, down); err != nil {
			return stepWait, err
		}
		return stepFinish, nil
	case !down:
		stop := func(ctx context.Context, id string) error { return r.opts.Docker.Stop(ctx, id, stopTimeout) }
		if err := a.call(ctx, changeTimeout, "stopped by Docker", stop); err != nil {
			return stepWait, err
		}
		r.setPhase(a, journal.PhaseDown)
	}
	return stepHold, nil
}

// gaveUp is a failure if the record has no outcome yet; else the wait goes on, however long the job
// takes.
func (a *attempt) gaveUp(job bool, err error) error {
	switch {
	case !a.open:
		return nil
	case job:
		return &failure{failBusy, errors.New("it is restarted when the job is over")}
	default:
		return &failure{failUnknown, fmt.Errorf("%w; it is restarted when it is seen to be idle", err)}
	}
}

func (r *reconciler) terminate(ctx context.Context, a *attempt) error {
	if err := a.call(ctx, changeTimeout, "sent SIGTERM", r.opts.Docker.Terminate); err != nil {
		// It may have exited between the two calls. If not, it may be unaware that it is to exit,
		// and take a job at any time: SIGTERM is sent again, and nothing is killed.
		if c, look := r.find(ctx, a.p.ID); look != nil || !c.Down() {
			return err
		}
	}
	r.setPhase(a, journal.PhaseTerminated)
	return nil
}

// drain waits until the container that was sent SIGTERM is down, or has been seen without a job for
// a whole grace period. A job that began in the last instant makes it wait until the time is up,
// and is never killed. The supervisor in a runner first deletes its registration at GitHub, which
// is refused while a job runs, so no job can begin after that.
func (r *reconciler) drain(ctx context.Context, a *attempt) (down, job bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.opts.RestartTimeout)
	defer cancel()
	tick := time.NewTicker(r.opts.PollInterval)
	defer tick.Stop()
	for idleSince := time.Now(); ; {
		c, findErr := r.find(ctx, a.p.ID)
		if errors.Is(findErr, errGone) || findErr == nil && c.Down() {
			return findErr == nil, false, findErr
		}
		wasBusy := job
		if job, err = false, findErr; err == nil {
			job, err = working(ctx, r.opts.Docker, c)
		}
		idle := !job && err == nil
		switch {
		case job && !wasBusy:
			a.note("a job runs: waiting for it")
		case !idle:
			idleSince = time.Time{}
		case idleSince.IsZero():
			idleSince = time.Now()
		case time.Since(idleSince) >= r.opts.RestartGrace:
			return false, false, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if idle { // not for the whole grace period
				err = ctx.Err()
			}
			return false, job, err
		}
	}
}

func (r *reconciler) start(ctx context.Context, a *attempt, down bool) error {
	start := r.opts.Docker.Start
	if !down {
		start = func(ctx context.Context, id string) error { return r.opts.Docker.Restart(ctx, id, stopTimeout) }
	}
	if err := a.call(ctx, changeTimeout, "started", start); err != nil {
		return err
	}
	r.opts.Failpoint("started")
	r.setPhase(a, journal.PhaseDown)
	return nil
}

// restartService has Docker restart a service. The phase is written before, so that a crash in
// between does not restart it twice.
func (r *reconciler) restartService(ctx context.Context, a *attempt) (step, error) {
	r.setPhase(a, journal.PhaseTerminated)
	restart := func(ctx context.Context, id string) error { return r.opts.Docker.Restart(ctx, id, -1) }
	if err := a.call(ctx, serviceTimeout, "restarted by Docker within its own grace period", restart); err != nil {
		return stepWait, err
	}
	r.opts.Failpoint("started")
	return stepFinish, nil
}

func (a *attempt) call(ctx context.Context, timeout time.Duration, done string, fn func(context.Context, string) error) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := fn(ctx, a.p.ID); err != nil {
		return &failure{failDocker, fmt.Errorf("not %s: %w", done, err)}
	}
	a.note("%s", done)
	return nil
}
