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

// onlineCheck asks GitHub whether a restarted runner is online. It asks anew: what was known before
// may be older than the restart.
type onlineCheck struct {
	// before are the registrations that were online before the restart, and have not been seen to
	// end: a runner that was killed is called online for a while.
	before map[int64]bool
	last   time.Time
	asked  bool
	err    error  // of the last question
	name   string // of the registration that is online
}

// onlineBefore begins an onlineCheck before the restart.
func (r *reconciler) onlineBefore(p Plan) *onlineCheck {
	o := &onlineCheck{before: map[int64]bool{}}
	if r.opts.GitHub == nil {
		return o
	}
	list, _ := r.opts.GitHub.Known(p.Container.Scope)
	for _, reg := range registrationsOf(list, p.Container, p.Containers) {
		o.before[reg.ID] = reg.Online()
	}
	return o
}

// online reports whether GitHub sees the runner online; also for what is no runner and where there
// is no GitHub to ask.
func (r *reconciler) isOnline(ctx context.Context, o *onlineCheck, c runner.Container) bool {
	if r.opts.GitHub == nil || c.Role != runner.RoleRunner {
		return true
	}
	if o.asked && time.Since(o.last) < onlineInterval {
		return false
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := r.opts.GitHub.Ask(call, c.Scope)
	if err != nil && ctx.Err() != nil && o.asked {
		return false // canceled by the end of the wait: the last answer counts
	}
	o.last, o.asked, o.err = time.Now(), true, err
	if err != nil {
		return false
	}
	all, _ := r.containers.recent(ctx) // without it a slot may be taken for another with a longer name
	still := map[int64]bool{}
	found := false
	for _, reg := range registrationsOf(list, c, all) {
		switch {
		case reg.Online() && o.before[reg.ID]:
			still[reg.ID] = true
		case reg.Online():
			found = true
			o.name = reg.Name
		}
	}
	o.before = still
	return found
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
	began, seen := time.Now(), 0
	online := a.online
	if online == nil { // an earlier process began it
		online = &onlineCheck{}
	}
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
				a.note("verified after %s: %s", time.Since(began).Round(10*time.Millisecond), described(c, online))
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return r.unverified(a, c, online, err)
		}
	}
}

func described(c runner.Container, o *onlineCheck) string {
	s := c.State
	if c.Health != "" {
		s += " " + c.Health
	}
	if o.name != "" {
		s += ", " + o.name + " is online at GitHub"
	}
	return s
}

// unverified is what comes of a verification whose time is up. A GitHub that cannot be asked is no
// failure of the restart: the outage has its own alert.
func (r *reconciler) unverified(a *attempt, c runner.Container, o *onlineCheck, err error) error {
	switch {
	case err != nil:
		return a.fail(failVerify, "", err)
	case o.asked && o.err == nil:
		return a.fail(failVerify, "look at its log", fmt.Errorf("state %s, health %q, and GitHub does not see it online", c.State, c.Health))
	case o.asked:
		a.note("%s; GitHub cannot be asked: %v", described(c, o), o.err)
		return nil
	default:
		return a.fail(failVerify, "look at its log", fmt.Errorf("state %s, health %q", c.State, c.Health))
	}
}
