package remedy

import (
	"context"
	"fmt"
)

// backoff is the action that stops a runner for a while, because restarting it
// again and again does not help.
//
// To the world: one runner slot is down for the length of the plan, then started
// on probation. It leaves as for a restart: drained, never cutting a job. Its
// start time is on disk before it is asked to leave, so that it comes back
// whatever becomes of this program. Undone by a reset of the breaker.
// Blast radius: one runner, for at most --backoff.max.
func (r *Remediator) backoff() Action {
	return Action{
		Name:     ActionBackoff,
		Timeout:  r.opts.RestartTimeout + 2*callTimeout,
		Cooldown: min(r.opts.RestartCooldown, r.opts.BackoffDuration),
		Takes:    true,
		Do: func(ctx context.Context, a *Attempt) error {
			id := a.Plan.Container.ID
			drainCtx, cancel := context.WithTimeout(ctx, r.opts.RestartTimeout)
			defer cancel()
			down, err := r.takeDown(drainCtx, a)
			if err != nil {
				return err
			}
			if down {
				return nil
			}
			if err := r.call(ctx, func(ctx context.Context) error { return r.opts.Docker.Stop(ctx, id, hardTimeout) }); err != nil {
				return a.fail(FailEngine, "", fmt.Errorf("stop: %w", err))
			}
			a.Note("stopped by Docker")
			r.setPhase(ctx, a.debt, PhaseDown)
			return nil
		},
		Verify: func(ctx context.Context, a *Attempt) error {
			c, err := r.find(ctx, a.Plan.Container.ID)
			if err != nil {
				return a.fail(FailVerify, "", err)
			}
			if !c.Down() {
				return a.fail(FailVerify, "", fmt.Errorf("state %s", c.State))
			}
			a.Note("is %s, to be started at %s", c.State, a.Record.Began.Add(a.Plan.Length).UTC().Format(timeFormat))
			return nil
		},
	}
}

// timeFormat is how times are written into sentences.
const timeFormat = "15:04:05 MST"
