package remedy

import (
	"slices"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// These guards look at Docker, GitHub and the disk as they are now.

// guardRecovered looks again at what the alert claims, where its label recheck says so, and for a
// prune always. For those and for a back-off the container must run at all: one that is down was
// stopped by a person since the alert began (what we stopped is a pending start, and was refused
// before), and to start it is the person's decision.
func guardRecovered(w World, p Plan) Verdict {
	if p.Action.Engine {
		if !p.Space.Short() {
			return refuse(Recovered, "%s", p.Space)
		}
		return pass("%s", p.Space)
	}
	c, recheck := p.Container, p.Alert.Labels[labelRecheck]
	switch {
	case recheck == "" && p.Action.Name != ActionBackoff:
		return pass("")
	case c.Down():
		return refuse(Recovered, "container %s is %s: a person stopped it", c.Name, c.State)
	case recheck == recheckHealth && c.Running() && c.Health != runner.HealthUnhealthy:
		return refuse(Recovered, "container %s is running and its health is %q", c.Name, c.Health)
	case recheck == recheckOnline && c.Role == runner.RoleRunner:
		if list, ok := w.Registrations(c); ok && slices.ContainsFunc(list, runner.Registration.Online) {
			return refuse(Recovered, "GitHub sees %s online", c.Runner)
		}
	}
	return pass("")
}

// guardBusy refuses while a job runs: on the target, or for prune on any runner, because images
// disappear under a running job otherwise. On a disk that is almost full a prune goes on, more
// carefully.
func guardBusy(w World, p Plan) Verdict {
	targets := []runner.Container{p.Container}
	if p.Action.Engine {
		targets = p.Containers
	}
	v := w.JobIn(targets)
	if !v.OK && p.Action.Engine && p.Space.AlmostFull() {
		return pass("%s, but the disk is almost full: only what is old is removed", v.Detail)
	}
	return v
}

// brokenFor is how long a watchdog fire shows that a runner is broken.
const brokenFor = time.Hour

// guardLastOnline refuses to take down the last runner of this machine that GitHub sees online,
// unless it is the broken one. What the alert says of it is no proof: Docker, GitHub or our own
// journal must say so too.
func guardLastOnline(w World, p Plan) Verdict {
	c := p.Container
	if p.Action.Engine || c.Role != runner.RoleRunner {
		return pass("")
	}
	own, ok := w.Registrations(c)
	switch {
	case !ok:
		return pass("GitHub was not asked of late")
	case !slices.ContainsFunc(own, runner.Registration.Online):
		return pass("GitHub does not see it online")
	case !c.Running() || c.Health == runner.HealthUnhealthy:
		return pass("it is %s %s", c.State, c.Health)
	case firedRecently(w, p.Target):
		return pass("it was restarted as a watchdog fire within the last hour")
	}
	for _, other := range p.Containers {
		if other.Role != runner.RoleRunner || other.Runner == c.Runner || !strings.EqualFold(other.Scope, c.Scope) || !other.Running() {
			continue
		}
		if list, ok := w.Registrations(other); ok && slices.ContainsFunc(list, runner.Registration.Online) {
			return pass("%s is online too", other.Runner)
		}
	}
	return refuse(LastOnline, "GitHub sees it online, nothing here shows that it is broken, and no other runner of this machine is online")
}

// firedRecently reports whether our own journal has a watchdog fire of the runner, or it is on
// probation after several.
func firedRecently(w World, target string) bool {
	_, found := w.State.Last(target, func(r journal.Record) bool {
		return r.Fire && w.Now.Time.Sub(r.Began) < w.Options.scale(brokenFor)
	})
	return found || w.State.Breakers[target].State == journal.HalfOpen
}
