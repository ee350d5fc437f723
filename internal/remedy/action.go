package remedy

import (
	"slices"
	"time"
)

// Names of the actions, as in the label "remediation".
const (
	ActionRestart = "restart"
	ActionBackoff = "backoff"
	ActionPrune   = "prune"
)

// actionUnknown stands in history and metrics for every name that is no action, so that an alert
// cannot make series.
const actionUnknown = "unknown"

// targetEngine is the target of actions on the engine as a whole.
const targetEngine = "engine"

// Action is something that can be done to the world.
type Action struct {
	Name string
	// Engine says that it works on the engine and has no container as its target.
	Engine bool
	// Cooldown is the least time between two on one target.
	Cooldown time.Duration
}

// actions lists the actions.
//
// Restart starts a container anew. A runner is sent SIGTERM; its supervisor deletes its registration
// at GitHub (which GitHub refuses while a job runs) and exits. If it has not exited after the grace
// and no job runs in it, Docker restarts it; a job that began in the last instant is never killed:
// the attempt is given up, and the container is started when it has exited. A service is restarted
// by Docker within its own grace period. Wanted: running. Verified when it is running and healthy,
// and a runner is online at GitHub. Not reversible; no rollback is needed. Blast radius: one
// container, and the clients of a service.
//
// Backoff stops a runner for a while, because restarting it again and again does not help. It exits
// as for a restart. Wanted: stopped until the length of the plan is over, then running, on
// probation. Verified when it is down. Undone by a reset of the breaker. Blast radius: one runner,
// for at most Options.BackoffMax.
//
// Prune makes room on the disk; see package prune. Verified when the threshold is free. Not
// reversible. Blast radius: the engine's images and build cache.
func (o *Options) actions() []Action {
	return []Action{
		{Name: ActionRestart, Cooldown: o.RestartCooldown},
		{Name: ActionBackoff, Cooldown: min(o.RestartCooldown, o.BackoffDuration)},
		{Name: ActionPrune, Engine: true, Cooldown: o.PruneCooldown},
	}
}

// action returns the action of that name; ok is false if there is none.
func (o *Options) action(name string) (a Action, ok bool) {
	all := o.actions()
	i := slices.IndexFunc(all, func(a Action) bool { return a.Name == name })
	if i < 0 {
		return Action{}, false
	}
	return all[i], true
}

// longestCooldown is the age at which an attempt holds nothing back any more.
func (o *Options) longestCooldown() time.Duration {
	longest := o.BackoffMax
	for _, a := range o.actions() {
		longest = max(longest, a.Cooldown)
	}
	return longest
}
