package remedy

import (
	"errors"
	"fmt"
)

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

// failReasons lists the reasons an action can fail for.
var failReasons = []string{failBusy, failUnknown, failDocker, failGone, failVerify, failIneffective, failNotEnough}

// failure is an action that was begun and did not succeed.
type failure struct {
	op     string // what was tried: "restart ci-runner-1"
	reason string // one of the fail constants
	hint   string // what follows, or what a person can do; "" if nothing
	err    error
}

func (f *failure) Error() string {
	s := fmt.Sprintf("%s: %s", f.op, f.reason)
	if f.err != nil {
		s += ": " + f.err.Error()
	}
	if f.hint != "" {
		s += " (" + f.hint + ")"
	}
	return s
}

func (f *failure) Unwrap() error { return f.err }

// failReason returns the reason of a failure, failDocker for any other error.
func failReason(err error) string {
	if f, ok := errors.AsType[*failure](err); ok {
		return f.reason
	}
	return failDocker
}
