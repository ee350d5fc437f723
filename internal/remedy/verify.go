package remedy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// onlineInterval is the time between two questions to GitHub while a restart is verified. An answer
// that has not changed costs no quota.
const onlineInterval = 2 * time.Second

type onlineCheck struct {
	// before are the registrations that were online before the restart, and have not been seen to
	// end: a runner that was killed is called online for a while.
	before map[int64]bool
	last   time.Time // of the last question; zero: none
	err    error     // of the last question
	name   string    // of the registration that is online
}

func (r *reconciler) onlineBefore(ctx context.Context, a *attempt, c runner.Container) {
	known, _ := r.idle.registrations(ctx, c)
	a.online.before = map[int64]bool{}
	for _, reg := range known {
		a.online.before[reg.ID] = reg.Online()
	}
}

// isOnline reports whether GitHub sees the runner online; also for what is no runner and where
// there is no GitHub to ask.
func (r *reconciler) isOnline(ctx context.Context, o *onlineCheck, c runner.Container) (online bool) {
	if r.opts.GitHub == nil || c.Role != runner.RoleRunner {
		return true
	}
	if time.Since(o.last) < onlineInterval {
		return false
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := r.opts.GitHub.Ask(call, c.Scope)
	if err != nil && ctx.Err() != nil && !o.last.IsZero() {
		return false // canceled by the end of the wait: the last answer counts
	}
	if o.last, o.err = time.Now(), err; err != nil {
		return false
	}
	still := map[int64]bool{}
	for _, reg := range r.idle.ofSlot(ctx, list, c) {
		if reg.Online() && o.before[reg.ID] {
			still[reg.ID] = true
		} else if reg.Online() {
			online, o.name = true, reg.Name
		}
	}
	o.before = still
	return online
}

// verify waits until a restarted container runs and is healthy, and a runner is online at GitHub
// again. One without a health check must be seen running twice: a program that fails at once runs
// for a moment too. The end of a back-off, and an action that has failed before, are not verified.
func (r *reconciler) verify(ctx context.Context, a *attempt) error {
	if !a.open || a.p.Action != ActionRestart {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.VerifyTimeout)
	defer cancel()
	online, seen := &a.online, 0
	tick := time.NewTicker(r.opts.PollInterval)
	defer tick.Stop()
	for {
		c, err := r.find(ctx, a.p.ID)
		switch {
		case errors.Is(err, errGone):
			return err
		case err != nil || c.State != runner.StateRunning:
			seen = 0
		case c.Health == runner.HealthHealthy || c.Health == "":
			if seen++; (c.Health != "" || seen > 1) && r.isOnline(ctx, online, c) {
				a.note("verified: %s %s", c.State, c.Health)
				if online.name != "" {
					a.note("%s is online at GitHub", online.name)
				}
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if err == nil && online.err != nil { // no failure of the restart: the outage has its own alert
				a.note("%s %s; GitHub cannot be asked: %v", c.State, c.Health, online.err)
				return nil
			}
			if err == nil {
				err = fmt.Errorf("state %s, health %q", c.State, c.Health)
			}
			if !online.last.IsZero() {
				err = fmt.Errorf("%w, and GitHub does not see it online", err)
			}
			return &failure{failVerify, fmt.Errorf("%w; look at its log", err)}
		}
	}
}
