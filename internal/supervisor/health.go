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
)

// hopeless are causes that waiting does not mend: a person must act.
var hopeless = []string{CausePATInvalid, CausePATPermission, CauseVersionDeprecated}

// Health judges a slot from outside, for Docker's health check: by the state file and by the process table (proc is
// "/proc"). It reads a few small files and takes milliseconds. why is one short text in both cases.
//
// A running job comes first: whatever else is wrong, a container with a worker process must not look as if it should be
// restarted. A slot that listens is healthy if and only if its listener is alive; whether GitHub agrees is the exporter's
// question, which can see from outside what a sick container cannot.
func Health(stateFile, proc string, now time.Time) (healthy bool, why string) {
	for _, p := range processes(proc) {
		if !p.zombie && programName(proc, p.pid) == workerProgram {
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
		return s.judgeFailures(string(s.Phase), s.Phase == Connecting)
	case Registering, Cleaning:
		return s.judgeFailures(string(s.Phase), true)
	default: // preflight, draining, stopped: coming or going
		return true, string(s.Phase)
	}
}

// judgeFailures tells whether the row of failures has become too long, where failures matter.
func (s State) judgeFailures(ok string, matter bool) (healthy bool, why string) {
	switch {
	case !matter || s.Failures == 0:
		return true, ok
	case s.Failures >= maxFailures || slices.Contains(hopeless, s.Cause):
		return false, fmt.Sprintf("%s (%d failures in a row)", s.Cause, s.Failures)
	default:
		return true, fmt.Sprintf("%s, %d failures in a row: %s", ok, s.Failures, s.Cause)
	}
}
