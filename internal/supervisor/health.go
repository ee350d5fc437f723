package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"time"
)

// Bounds of the health check.
const (
	maxStateAge = 20 * time.Second // four missed writes
	maxFailures = 5                // in a row; fewer are weather
	maxBlocked  = 5 * time.Minute  // without names; a new container gets new name servers
	maxSights   = 2                // in a row, a minute apart: GitHub's lists lag
)

// hopeless are causes that waiting does not mend: a person must act.
var hopeless = []string{CausePATInvalid, CausePATPermission, CauseVersionDeprecated}

// Health judges a slot from outside, for Docker's health check: by the state file and by the process table (proc is
// "/proc"). It reads a few small files and takes milliseconds. why is one short text in both cases.
//
// An unhealthy container is one that somebody, or the remediator, should restart; so:
//   - A running job comes first: whatever else is wrong, a container with a worker process is healthy.
//   - No supervisor, or a listener that has gone although it should listen: unhealthy.
//   - A slot that listens is healthy if GitHub sees it online, and also if GitHub cannot be asked: a restart mends neither a network nor
//     GitHub, and the session may well be alive. It is unhealthy if GitHub says twice that it is offline or gone.
//   - A token that GitHub rejects is unhealthy, by its own word, so that nobody looks for the fault in the container.
//   - A clock that is off is waited for in good health: it is the machine's, and a restart changes nothing.
func Health(stateFile, proc string, now time.Time) (healthy bool, why string) {
	for _, p := range processes(proc) {
		if !p.zombie && isWorker(proc, p.pid) {
			return true, "job running"
		}
	}
	s, err := ReadState(stateFile)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return false, "no state file: the supervisor does not run or cannot write " + strconv.Quote(stateFile)
	case err != nil:
		return false, err.Error()
	}
	if age := now.Sub(s.Updated); age.Abs() > maxStateAge {
		return false, fmt.Sprintf("stale: the supervisor was last alive %s ago, %s", age.Round(time.Second), s.Phase)
	}
	switch s.Phase {
	case Listening, Job, Connecting:
		p, ok := readProcess(proc, s.PID)
		if !ok || p.zombie {
			return false, fmt.Sprintf("listener gone: process %d does not run", s.PID)
		}
		if s.Phase == Listening {
			return s.judgeSight()
		}
		return s.judgeFailures(string(s.Phase), s.Phase == Connecting)
	case Waiting, Registering, Cleaning:
		return s.judgeWaiting(now)
	default: // preflight, draining, stopped: coming or going
		return true, string(s.Phase)
	}
}

// judgeSight weighs what GitHub says of a slot that listens.
func (s State) judgeSight() (healthy bool, why string) {
	bad := s.GitHub.Row >= maxSights
	switch s.GitHub.Says {
	case "":
		return true, "listening"
	case CausePATInvalid:
		return !bad, "listening, " + CausePATInvalid + ": GitHub rejects the token"
	case sightOffline, sightGone:
		return !bad, "listening, but GitHub says: " + s.GitHub.Says
	default:
		return true, "listening, GitHub: " + s.GitHub.Says
	}
}

// judgeWaiting weighs what a slot without a listener waits for.
func (s State) judgeWaiting(now time.Time) (healthy bool, why string) {
	if s.Phase == Waiting && s.Blocked != "" {
		waits := now.Sub(s.BlockedSince).Round(time.Second)
		return s.Blocked != CauseNames || waits < maxBlocked, fmt.Sprintf("waiting for %s: %s", waits, s.Blocked)
	}
	return s.judgeFailures(string(s.Phase), true)
}

// judgeFailures tells whether the row of failures has become too long, where failures matter.
func (s State) judgeFailures(ok string, matter bool) (healthy bool, why string) {
	switch {
	case !matter || s.Failures == 0:
		return true, ok
	case s.Failures >= maxFailures || slices.Contains(hopeless, s.Failure):
		return false, fmt.Sprintf("%s (%d failures in a row)", s.Failure, s.Failures)
	default:
		return true, fmt.Sprintf("%s, %d failures in a row: %s", ok, s.Failures, s.Failure)
	}
}
