package remedy

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// serviceTimeout bounds the restart of a service within its own grace period.
const serviceTimeout = 2 * time.Minute

// startTimeout is what Docker is given to start a container. On a machine that has just woken up it needs far longer than for
// anything else, and one that was given up on starts all the same: history would call that a failure.
const startTimeout = 40 * time.Second

// restart is the action that starts a container anew.
//
// To the world: the processes of one container end and begin again. A runner is
// sent SIGTERM; its supervisor deletes its registration at GitHub (which GitHub
// refuses while a job runs) and leaves. If it has not left after the grace and no
// job runs in it, Docker restarts it; a job that began in the last instant is
// never cut: the attempt is given up, and the container is started when it has
// left by itself. A service is restarted by Docker within its own grace period.
//
// Safe when no job runs on the target (guard busy). A stop or SIGTERM marks the
// container as manually stopped, which disables its restart policy; so the debt
// is on disk before, and start is always the end. Undone by nothing: needs none.
// Blast radius: one container, and whoever is connected to a service.
func (r *Remediator) restart() Action {
	return Action{
		Name:     ActionRestart,
		Timeout:  max(r.opts.RestartTimeout, serviceTimeout+callTimeout),
		Cooldown: r.opts.RestartCooldown,
		Takes:    true,
		Do: func(ctx context.Context, a *Attempt) error {
			id := a.Plan.Container.ID
			a.sight = r.sightBefore(a)
			if a.Plan.Container.Role == RoleService {
				if err := r.restartService(ctx, id); err != nil {
					return a.fail(FailEngine, "", err)
				}
				a.up = true
				a.Note("restarted by Docker within its own grace period")
				r.opts.Failpoint("started")
				return nil
			}
			drainCtx, cancel := context.WithTimeout(ctx, r.opts.RestartTimeout)
			defer cancel()
			down, err := r.takeDown(drainCtx, a)
			if err != nil {
				return err
			}
			if a.Plan.Rung >= rungRegister {
				busy := r.deregister(ctx, a)
				r.opts.Failpoint("deregistered")
				if !down {
					if err := r.stillIdle(ctx, a, busy); err != nil {
						return err
					}
				}
			}
			if err := r.bringUp(ctx, id, down); err != nil {
				return a.fail(FailEngine, "it is tried again", err)
			}
			a.up = true
			a.Note("started")
			r.opts.Failpoint("started")
			r.setPhase(ctx, a.debt, PhaseDown)
			return nil
		},
		Verify: func(ctx context.Context, a *Attempt) error { return r.verifyUp(ctx, a) },
	}
}

func (r *Remediator) restartService(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	return r.opts.Docker.Restart(ctx, id, -1)
}

// bringUp starts a container that is down, and restarts an idle one that is not.
func (r *Remediator) bringUp(ctx context.Context, id string, down bool) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout+hardTimeout)
	defer cancel()
	if down {
		return r.opts.Docker.Start(ctx, id)
	}
	return r.opts.Docker.Restart(ctx, id, hardTimeout)
}

// verifyUp waits until the container runs and is healthy, and a runner is online at GitHub again. One without a health
// check must be seen running twice: a program that fails at once runs for a moment too.
func (r *Remediator) verifyUp(ctx context.Context, a *Attempt) error {
	began, seen := time.Now(), 0
	sight := a.sight
	if sight == nil { // an earlier process began it
		sight = r.sightAfter(a)
	}
	tick := time.NewTicker(r.opts.PollInterval)
	defer tick.Stop()
	for {
		c, err := r.find(ctx, a.Plan.Container.ID)
		if errors.Is(err, errGone) {
			return a.fail(FailGone, "", err)
		}
		if err != nil || c.State != "running" {
			seen = 0
		} else if seen++; c.Health == "healthy" || c.Health == "" && seen > 1 {
			if sight.online(ctx) {
				a.Note("verified after %s: %s %s%s", time.Since(began).Round(10*time.Millisecond), c.State, c.Health, sight.said)
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			switch {
			case err != nil:
				return a.fail(FailVerify, "", err)
			case sight.asked && sight.err == nil:
				return a.fail(FailVerify, "look at its log", fmt.Errorf("state %s, health %q, and GitHub does not see it online", c.State, c.Health))
			case sight.asked: // the outage is another alert's business
				a.Note("%s %s; GitHub cannot be asked: %v", c.State, c.Health, sight.err)
				return nil
			}
			return a.fail(FailVerify, "look at its log", fmt.Errorf("state %s, health %q", c.State, c.Health))
		}
	}
}
