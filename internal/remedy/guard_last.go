package remedy

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// brokenFor is how long a watchdog fire speaks for a runner being broken.
const brokenFor = time.Hour

// guardLastOnline refuses to take down the last runner of this machine that GitHub sees online, unless it is the broken
// one. What the alert says of it is no proof: Docker, GitHub or our own journal must say so too.
func (r *Remediator) guardLastOnline(_ context.Context, p *Plan) Verdict {
	c := p.Container
	if p.Action.Engine || c.Role != RoleRunner {
		return pass("")
	}
	own, ok := r.registrations(c, p.Containers)
	switch {
	case !ok:
		return pass("GitHub was not asked of late")
	case !online(own):
		return pass("GitHub does not see it online")
	case !c.Running() || c.Health == "unhealthy":
		return pass(fmt.Sprintf("it is %s %s", c.State, c.Health))
	case r.firedOfLate(p.Target):
		return pass("it was restarted for its retry loop within the last hour")
	}
	for _, other := range p.Containers {
		if other.Role != RoleRunner || other.Runner == c.Runner || !strings.EqualFold(other.Scope, c.Scope) || !other.Running() {
			continue
		}
		if list, ok := r.registrations(other, p.Containers); ok && online(list) {
			return pass(other.Runner + " is online too")
		}
	}
	return refuse(LastOnline, "GitHub sees it online, nothing here shows that it is broken, and no other runner of this machine is online")
}

// online reports whether GitHub sees one of a slot's registrations online.
func online(list []Registration) bool {
	for _, reg := range list {
		if reg.Online() {
			return true
		}
	}
	return false
}

// firedOfLate reports whether our own journal has a watchdog fire of the runner, or it is on probation after several.
func (r *Remediator) firedOfLate(runner string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rec := range r.state.records {
		if rec.Fire && rec.Target == runner && time.Since(rec.Began) < brokenFor {
			return true
		}
	}
	return r.state.breakers[runner].State == HalfOpen
}
