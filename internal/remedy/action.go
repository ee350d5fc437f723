package remedy

import "time"

// Names of the actions, as in the label "remediation".
const (
	ActionRestart = "restart"
	ActionBackoff = "backoff"
	ActionPrune   = "prune"
)

// actionUnknown stands in history and metrics for every name that is no action, so that an alert
// cannot make series.
const actionUnknown = "unknown"

const targetEngine = "engine"

// Action is something that can be done to the world.
type Action struct {
	Name     string
	Engine   bool          // it works on the engine and has no container as its target
	Cooldown time.Duration // least time between two on one target
}

// action returns the action of that name; ok is false if there is none.
//
// Restart stops a container and starts it again. A runner is sent SIGTERM; its supervisor deletes its
// registration at GitHub (which GitHub refuses while a job runs) and exits. If it has not exited
// after the grace and no job runs in it, Docker restarts it; a job that began in the last instant
// is never killed: the attempt is given up, and the container is started when it has exited. A
// service is restarted by Docker within its own grace period. Verified when it is running and
// healthy, and a runner is online at GitHub. Blast radius: one container, and the clients of a
// service.
//
// Backoff stops a runner for a while, because restarting it again and again does not help. It exits
// as for a restart. Verified when it is down. Undone by a reset of the breaker. Blast radius: one
// runner, for at most Options.BackoffMax.
//
// Prune makes room on the disk; see package prune. Verified when the threshold is free. Not
// reversible. Blast radius: the engine's images and build cache.
func (o *Options) action(name string) (a Action, ok bool) {
	switch name {
	case ActionRestart:
		return Action{Name: name, Cooldown: o.RestartCooldown}, true
	case ActionBackoff:
		return Action{Name: name, Cooldown: min(o.RestartCooldown, o.BackoffDuration)}, true
	case ActionPrune:
		return Action{Name: name, Engine: true, Cooldown: o.PruneCooldown}, true
	}
	return Action{}, false
}

// Why an alert was refused. CONTRACT: the list is closed.
const (
	NotAllowed     = "not_allowed"     // the container's labels do not name the action
	Busy           = "busy"            // a job runs
	UnknownState   = "unknown_state"   // not knowing is a reason to refuse
	Cooldown       = "cooldown"        // the same was done a moment ago
	BreakerOpen    = "breaker_open"    // the runner is stopped for a back-off, or on probation
	Duplicate      = "duplicate"       // this very alert has been acted on
	Paused         = "paused"          // a person said so
	Recovered      = "recovered"       // the condition no longer holds
	OneAtATime     = "one_at_a_time"   // an earlier action on the target is not finished
	LastOnline     = "last_online"     // the only runner that GitHub sees online, and not known to be broken
	OutsideWindow  = "outside_window"  // the maintenance window is closed
	DryRun         = "dry_run"         // configured to decide only
	NoTarget       = "no_target"       // no such container
	UntrustedLabel = "untrusted_label" // the alert's labels contradict each other, or make no sense
)

// Reasons lists every reason to refuse.
var Reasons = []string{
	NotAllowed, Busy, UnknownState, Cooldown, BreakerOpen, Duplicate,
	Paused, Recovered, OneAtATime, LastOnline, OutsideWindow, DryRun, NoTarget, UntrustedLabel,
}

// Why an action failed (label "reason" of action_failures_total).
const (
	failBusy        = "busy"         // a job began in the last instant: nothing was killed
	failUnknown     = "unknown"      // the container could not be looked into: nothing was killed
	failDocker      = "docker"       // Docker answered with an error, or not in time
	failGone        = "gone"         // the container was removed meanwhile
	failVerify      = "not_verified" // done, but the world does not show it
	failIneffective = "ineffective"  // the alert stands after the action: counted when it escalates
	failNotEnough   = "not_enough"   // everything that may be removed is gone, and space is still short
)

type failure struct {
	reason string // one of the fail constants
	err    error
}

func (f *failure) Error() string { return f.reason + ": " + f.err.Error() }

func (f *failure) Unwrap() error { return f.err }
