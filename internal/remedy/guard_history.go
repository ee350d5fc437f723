package remedy

import (
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
)

// These guards look at what was done before.

// guardDuplicate refuses an alert that has been acted on within the action's cooldown. Alertmanager
// repeats, and two of them send the same twice. After the cooldown an alert that still stands acts
// again.
func guardDuplicate(w World, p Plan) Verdict {
	for _, r := range w.State.Records {
		if ago := w.Now.Time.Sub(r.At()); ago < p.Action.Cooldown && r.Alert.Same(p.Alert) {
			return refuse(Duplicate, "acted on this very alert %s ago", max(ago, 0).Round(time.Second))
		}
	}
	return pass("")
}

// guardBreaker refuses everything while the breaker is open. On probation a back-off that an alert
// asks for is the old storm still standing; escalate has already turned a new fire into one.
func guardBreaker(w World, p Plan) Verdict {
	b := w.State.Breakers[p.Target]
	switch {
	case b.State == journal.Open:
		return refuse(BreakerOpen, "stopped until %s", openUntil(b, w.Now).UTC().Format(time.RFC3339))
	case b.State == journal.HalfOpen && p.Alert.Remediation() == ActionBackoff:
		return refuse(BreakerOpen, "on probation: only a new fire opens it again")
	case b.State == journal.HalfOpen:
		return pass("on probation")
	}
	return pass("")
}

// guardCooldown refuses whichever alert asks, and whether the last attempt succeeded or not. Each
// restart in a row that did not make its target healthy doubles the cooldown, up to the longest
// back-off: a database that recovers slowly must not be restarted for ever.
func guardCooldown(w World, p Plan) Verdict {
	last, found := w.State.Last(p.Target, func(r journal.Record) bool { return r.Action == p.Action.Name })
	ago := max(w.Now.Time.Sub(last.At()), 0)
	cooldown := p.Action.Cooldown
	if p.Action.Name == ActionRestart {
		for range unverified(w.State, p.Target) {
			cooldown = min(2*cooldown, max(cooldown, w.Options.BackoffMax))
		}
	}
	if found && ago < cooldown {
		return refuse(Cooldown, "last %s of %s was %s ago, cooldown is %s",
			p.Action.Name, p.Target, ago.Round(time.Second), cooldown)
	}
	return pass("")
}

func unverified(s *journal.State, target string) int {
	ofRestart := func(r journal.Record) bool { return r.Action == ActionRestart && r.Outcome != journal.Running }
	verified, _ := s.Last(target, func(r journal.Record) bool { return ofRestart(r) && r.Reason != failVerify })
	n := 0
	for id, r := range s.Records {
		if r.Target == target && ofRestart(r) && id > verified.ID {
			n++
		}
	}
	return n
}

// guardOneAtATime refuses while an earlier action on the target is unfinished: one that gave up
// because of a job, or one that is being finished after a crash. Different targets need no guard:
// the reconciler takes one container down at a time.
func guardOneAtATime(w World, p Plan) Verdict {
	if w.Working(p.Target) {
		return refuse(OneAtATime, "an action on %s is in progress", p.Target)
	}
	if s, ok := w.State.Starts[p.Target]; ok {
		return refuse(OneAtATime, "an earlier %s of %s is not finished", s.Action, p.Target)
	}
	return pass("")
}
