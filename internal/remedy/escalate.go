package remedy

import (
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// ineffectiveMemory is how long an action that could not be verified counts against the next one on
// the same target.
const ineffectiveMemory = time.Hour

// escalate replaces a restart that would not help by a back-off: if the last action on the target
// did not help, or if the runner is on probation and the restart counts against it. Where a
// back-off is not allowed a restart stays one, and the cooldown makes them further and further
// apart.
func escalate(w World, p Plan) (Plan, Verdict) {
	if p.Action.Engine {
		return p, pass("")
	}
	b := w.State.Breakers[p.Target]
	why := ""
	if p.Action.Name == ActionRestart {
		switch doubt := ineffective(w, p); {
		case b.State == journal.HalfOpen && b.Ineffective:
			why = "restarts did not help, and it is on probation"
			p.Ineffective = why
		case b.State == journal.HalfOpen && p.Fire:
			why = "it fired on probation"
		case b.State != journal.Open && doubt != "":
			why = doubt
			p.Ineffective = why
		}
		if why == "" {
			return p, pass("restart")
		}
		if p.Container.Role != runner.RoleRunner || !p.Container.Allows(ActionBackoff) {
			return p, pass("restart again, although %s: a back-off is not allowed", why)
		}
		p.Action, _ = w.Options.action(ActionBackoff)
		p.Fire = false
	}
	p.Length = nextLength(b, w.Options.BackoffDuration, w.Options.BackoffMax)
	if why == "" {
		return p, pass("back off for %s", p.Length)
	}
	return p, pass("back off for %s, because %s", p.Length, why)
}

// ineffective returns why the last finished action on the target did not help, "" if that is
// unknown. An alert that was over in between is new trouble: how often that may come is judged by a
// rule.
func ineffective(w World, p Plan) string {
	last, found := w.State.Last(p.Target, func(r journal.Record) bool { return r.Outcome != journal.Running })
	switch {
	case !found:
	case last.Outcome == journal.Failed && last.Reason == failVerify && w.Now.Time.Sub(last.At()) < w.Options.scale(ineffectiveMemory):
		return "the last " + last.Action + " could not be verified"
	case last.Outcome == journal.Completed && last.Alert.Same(p.Alert):
		return "the same alert still stands after the last " + last.Action
	}
	return ""
}

// nextLength is how long the next opening of a breaker lasts: the first time base, on probation
// twice as long as the last time, at most limit.
func nextLength(b journal.Breaker, base, limit time.Duration) time.Duration {
	if b.State != journal.HalfOpen || b.Length <= 0 {
		return min(base, limit)
	}
	return min(2*b.Length, limit)
}

func onProbation(b journal.Breaker, now journal.Instant) journal.Breaker {
	b.Instant, b.State = now, journal.HalfOpen
	return b
}

// openUntil is when a runner is started again, or was. It is in the past on probation: the storm
// rule is silent while it lies there, so that restarts from before the opening do not open it
// again.
func openUntil(b journal.Breaker, now journal.Instant) time.Time {
	if b.State == journal.HalfOpen {
		return now.Time.Add(-now.Since(b.Instant))
	}
	return now.Time.Add(now.Left(b.Instant, b.Length))
}
