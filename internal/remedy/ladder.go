package remedy

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

// The ladder of a runner, climbed while its alert stands: an action that did not help is not simply done again.
const (
	rungRestart  = 1 // restart
	rungRegister = 2 // remove the slot's registrations at GitHub, restart
	rungBackoff  = 3 // back off, and call a person
)

// ladderMemory is how long an action that could not be verified counts against the next one on the same target.
const ladderMemory = time.Hour

// guardLadder finds the rung of a restart that is asked for again. A runner that does not allow a back-off stays on the
// second rung; so does a service, which has no registration, with restarts further and further apart (guardCooldown).
func (r *Remediator) guardLadder(_ context.Context, p *Plan) Verdict {
	if p.Action.Name != ActionRestart {
		return pass("")
	}
	r.mu.Lock()
	last, found := r.state.lastOn(p.Target)
	r.mu.Unlock()
	why := stands(last, p.Alert)
	if !found || why == "" {
		p.Rung = rungRestart
		return pass("first rung: restart")
	}
	p.Rung = min(last.Rung+1, rungBackoff)
	if p.Rung == rungBackoff {
		p.InVain = true
		if p.Container.Role == RoleRunner && p.Container.Allows(ActionBackoff) {
			p.Action = r.action(ActionBackoff)
			p.Length = r.nextLength(p.Target)
			return pass(fmt.Sprintf("third rung: back off for %s, because %s", p.Length, why))
		}
		p.Rung = rungRegister
	}
	return pass("second rung: restart without the old registrations, because " + why)
}

// stands says why an alert means that the last action on its target did not help, "" if it means no such thing. An alert
// that was over in between is new trouble: how often that may come is judged by a rule (GhostrunnerWatchdogStorm).
func stands(last Record, alert Alert) string {
	switch {
	case last.Outcome == OutcomeFailed && last.Reason == FailVerify && time.Since(last.at()) < ladderMemory:
		return "the last one could not be verified"
	case last.Outcome == OutcomeCompleted && last.Alert.key() == alert.key():
		return "the same alert still stands after the last one"
	}
	return ""
}

// lastOn returns the last finished action on a target.
func (s *state) lastOn(target string) (last Record, found bool) {
	for _, rec := range s.records {
		if rec.Target == target && rec.Outcome != OutcomeRunning && rec.ID >= last.ID {
			last, found = rec, true
		}
	}
	return last, found
}

// nextLength is how long the next back-off of a runner lasts.
func (r *Remediator) nextLength(runner string) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.state.breakers[runner].nextLength(r.opts.BackoffDuration, r.opts.BackoffMax)
}

// made is what a supervisor adds to its slot's name (internal/supervisor, newName), or nothing. By the longest match a runner of
// another machine, which this one does not know, can look like a registration of ours: it is read, but never removed.
var made = regexp.MustCompile(`^(-[a-z2-9]{10})?$`)

// deregister removes the slot's registrations at GitHub, so that the listener that is started next meets no session of the
// last one. GitHub keeps one that has a job, and busy says so. That it does not work is noted, and no reason not to restart.
func (r *Remediator) deregister(ctx context.Context, a *Attempt) (busy bool) {
	c := a.Plan.Container
	if r.opts.GitHub == nil || c.Role != RoleRunner {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, githubTimeout)
	defer cancel()
	list, err := r.opts.GitHub.Ask(ctx, c.Scope)
	if err != nil {
		a.Note("registrations are not known: %v", err)
		return false
	}
	for _, reg := range ofSlot(list, c, a.Plan.Containers) {
		if !made.MatchString(strings.TrimPrefix(reg.Name, c.Runner)) {
			a.Note("registration %s stays: no supervisor of this slot made it", reg.Name)
			continue
		}
		if reg.Busy {
			a.Note("registration %s stays: GitHub calls it busy", reg.Name)
			busy = true
			continue
		}
		if err := r.opts.GitHub.Deregister(ctx, c.Scope, reg.ID); err != nil {
			a.Note("registration %s stays: %v", reg.Name, err)
			continue
		}
		a.Note("removed registration %s", reg.Name)
	}
	return busy
}

// stillIdle looks once more into a container that ignored SIGTERM: asking GitHub took a while, in which a job may have begun.
func (r *Remediator) stillIdle(ctx context.Context, a *Attempt, busy bool) error {
	l := loadUnknown
	c, err := r.find(ctx, a.Plan.Container.ID)
	if err == nil {
		l, err = probe(ctx, r.opts.Docker, c)
	}
	switch {
	case errors.Is(err, errGone):
		return a.fail(FailGone, "", err)
	case err != nil:
		return a.fail(FailUnknown, "it is started again when it is down", err)
	case l == loadBusy, busy && a.Plan.Disbelieved == "":
		a.Note("a job has begun: nothing is killed")
		return a.fail(FailBusy, "it is started again when the job is over", nil)
	}
	return nil
}

// githubTimeout bounds what is asked of GitHub in one step of an action.
const githubTimeout = 30 * time.Second
