package supervisor

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"time"
)

const (
	maxStateAge   = 20 * time.Second // four missed writes
	maxFailures   = 5                // in a row; fewer are common during short outages
	maxUnresolved = 5 * time.Minute  // names; a new container gets new name servers
	maxBadStatus  = 2                // in a row, a minute apart: GitHub's lists lag
)

// needsPerson are the causes that waiting does not remove.
var needsPerson = []string{CausePATInvalid, CausePATPermission, CauseVersionDeprecated}

// Health judges a slot from outside, for Docker's health check, by the state file and the process
// table below proc. It takes milliseconds. why is a short text in both cases.
//
// Unhealthy means that a restart of the container, or a person, is needed. So a worker process is
// healthy whatever else is wrong, and so are a GitHub that cannot be reached and a wrong clock,
// which a restart does not repair.
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
		return false, fmt.Sprintf("stale: the supervisor last wrote its state %s ago, %s", age.Round(time.Second), s.Phase)
	}
	switch s.Phase {
	case Listening, Job, Connecting:
		p, ok := readProcess(proc, s.PID)
		switch {
		case !ok || p.zombie:
			return false, fmt.Sprintf("listener gone: process %d does not run", s.PID)
		case s.Phase == Listening:
			return s.healthByGitHub()
		case s.Phase == Job:
			return true, string(s.Phase)
		}
		return s.healthByFailures()
	case Waiting, Registering, Cleaning:
		if s.Phase == Waiting && s.Blocked != "" {
			waits := now.Sub(s.BlockedSince).Round(time.Second)
			return s.Blocked != CauseNames || waits < maxUnresolved, fmt.Sprintf("waiting for %s: %s", waits, s.Blocked)
		}
		return s.healthByFailures()
	default: // draining, stopped
		return true, string(s.Phase)
	}
}

func (s State) healthByGitHub() (healthy bool, why string) {
	good := s.GitHub.Repeats < maxBadStatus
	switch s.GitHub.Answer {
	case "":
		return true, "listening"
	case CausePATInvalid:
		return good, "listening, " + CausePATInvalid + ": GitHub rejects the token"
	case statusOffline, statusNotRegistered:
		return good, "listening, but GitHub says: " + s.GitHub.Answer
	default:
		return true, "listening, GitHub: " + s.GitHub.Answer
	}
}

func (s State) healthByFailures() (healthy bool, why string) {
	switch {
	case s.Failures == 0:
		return true, string(s.Phase)
	case s.Failures >= maxFailures || slices.Contains(needsPerson, s.Failure):
		return false, fmt.Sprintf("%s (%d failures in a row)", s.Failure, s.Failures)
	default:
		return true, fmt.Sprintf("%s, %d failures in a row: %s", s.Phase, s.Failures, s.Failure)
	}
}
