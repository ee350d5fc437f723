package remedy

import (
	"errors"
	"fmt"
	"time"
)

// Reason is why an alert was refused.
type Reason string

// The reasons of the public contract; the list is closed.
const (
	NotAllowed     Reason = "not_allowed"     // the container's labels do not name the action
	Busy           Reason = "busy"            // a job runs
	UnknownState   Reason = "unknown_state"   // not knowing is a reason to refuse
	Cooldown       Reason = "cooldown"        // the same was done a moment ago
	BreakerOpen    Reason = "breaker_open"    // the runner is stopped for a back-off, or on probation
	Duplicate      Reason = "duplicate"       // this very alert has been acted on
	Paused         Reason = "paused"          // a person said so
	Recovered      Reason = "recovered"       // the condition no longer holds
	OneAtATime     Reason = "one_at_a_time"   // an earlier action on the target is not finished
	LastOnline     Reason = "last_online"     // the only runner that GitHub sees online, and not known to be broken
	OutsideWindow  Reason = "outside_window"  // the maintenance window is closed
	DryRun         Reason = "dry_run"         // configured to decide only
	NoTarget       Reason = "no_target"       // no such container
	UntrustedLabel Reason = "untrusted_label" // the alert's labels contradict each other or name no action
)

// Reasons lists every Reason.
var Reasons = []Reason{
	NotAllowed, Busy, UnknownState, Cooldown, BreakerOpen, Duplicate,
	Paused, Recovered, OneAtATime, LastOnline, OutsideWindow, DryRun, NoTarget, UntrustedLabel,
}

// Why an action failed (label "reason" of action_failures_total).
const (
	FailBusy      = "busy"         // a job began in the last instant: nothing was killed
	FailUnknown   = "unknown"      // the container could not be looked into: nothing was killed
	FailEngine    = "docker"       // Docker answered with an error, or not in time
	FailGone      = "gone"         // the container was removed meanwhile
	FailVerify    = "not_verified" // done, but the world does not show it
	FailInVain    = "in_vain"      // restarts do not help: counted when the ladder's last rung begins
	FailNotEnough = "not_enough"   // everything that may be removed is gone, and space is still short
)

// failReasons lists the reasons an action can fail for.
var failReasons = []string{FailBusy, FailUnknown, FailEngine, FailGone, FailVerify, FailInVain, FailNotEnough}

// Failure is an action that was begun and did not succeed.
type Failure struct {
	Op     string // what was tried: "restart ci-runner-1"
	Reason string // one of the Fail constants
	Hint   string // what a person can do, "" if nothing
	Err    error
}

// Error implements error.
func (f *Failure) Error() string {
	s := fmt.Sprintf("%s: %s", f.Op, f.Reason)
	if f.Err != nil {
		s += ": " + f.Err.Error()
	}
	if f.Hint != "" {
		s += " (" + f.Hint + ")"
	}
	return s
}

// Unwrap returns the cause.
func (f *Failure) Unwrap() error { return f.Err }

// failReason returns the reason of a failure, FailEngine for any other error.
func failReason(err error) string {
	if f, ok := errors.AsType[*Failure](err); ok {
		return f.Reason
	}
	return FailEngine
}

// callTimeout bounds a call that only reads from Docker.
const callTimeout = 10 * time.Second

// errNoProcesses is an empty process list of a running container.
var errNoProcesses = errors.New("docker lists no process at all")
