package listener

import (
	"maps"
	"time"
)

// FlapWindow is how long a recovery must last before the next retry loop counts as a new outage.
// See State.RetryingSince.
const FlapWindow = 2 * time.Minute

// swapWindow is how far apart two lines can be that arrive in the wrong order: the retry line is on
// stderr, all others on stdout, and two pipes keep no common order. So a session whose first poll
// fails at once can seem to begin after its own failure. A session that really follows a failure is
// announced by a line of a new attempt or by the reconnection line.
const swapWindow = time.Second

// State is what one runner slot does, as far as its lines show.
type State struct {
	Listening  bool // a session exists and the listener waits for a job
	Retrying   bool // GitHub does not answer the listener's polls, and no line since shows a recovery
	JobRunning bool

	// RetryingSince is when the present outage began; zero unless Retrying. A retry loop that
	// begins within FlapWindow of the end of the last one continues the same outage, so that a
	// stray "Listening for Jobs" does not reset the age that the rules judge. Three things reset
	// it: FlapWindow without a retry line, a job, and a start or end of the container. The end of
	// the listener within the container does not.
	RetryingSince time.Time
	LastRetry     time.Time // last retry line or attempt in the diagnostic lines; kept afterwards

	JobStarted time.Time // zero unless JobRunning
	Job        string    // name of the running job: untrusted text; empty unless JobRunning

	Version     string // of the runner, as last printed; empty until then
	LastFailure Reason // why the listener gave up last; empty once it listens again
}

// Counts are monotonic counters of one runner slot. The maps are shared and must not be modified.
type Counts struct {
	LogLines         uint64 // every line, also the worker's
	Unrecognized     uint64 // lines with the listener's time stamp that match no pattern
	RetryLoopMatches uint64 // first failures of outages; not attempts
	SessionConflicts uint64
	JobsStarted      uint64
	JobsCompleted    map[Result]uint64 // every result is present, also with 0
	Failures         map[Reason]uint64 // every reason is present, also with 0
}

// Session is the state machine of one runner slot. Its methods must be called in the order of the
// events. The zero value is ready for use; a Session is not safe for concurrent use.
type Session struct {
	state    State
	counts   Counts
	failures map[Reason]time.Time // time of the last failure by reason; replaced, never modified

	outage    time.Time // begin of the last outage, kept through gaps shorter than FlapWindow; zero: none
	outageEnd time.Time // last moment of that outage
	explained bool      // this process already named why it cannot have a session
	retried   bool      // no line of a new attempt at a session has come since the last retry line

	jobDone func(time.Duration) // called for each job whose end is counted; may be nil
}

// ProcessChanged says that the process that prints the lines has started or ended: the state of the
// one before is over, and so is its job. Counters and times of failures stay.
func (s *Session) ProcessChanged() {
	s.listenerEnded(time.Time{})
	s.outage = time.Time{}
}

// Line takes one line that was written at the given time.
func (s *Session) Line(at time.Time, line []byte) { s.line(at, line, true) }

// State returns what the slot does.
func (s *Session) State() State { return s.state }

// LastFailures returns when the listener last failed, by reason; a reason that never occurred is
// absent. The map must not be modified.
func (s *Session) LastFailures() map[Reason]time.Time { return s.failures }

// Counts returns the counters as they are now.
func (s *Session) Counts() Counts {
	c := s.counts
	if c.JobsCompleted == nil {
		c.JobsCompleted = noResults
	}
	if c.Failures == nil {
		c.Failures = noFailures
	}
	return c
}

// noResults and noFailures are the counts of a slot without any. Maps are replaced and never
// modified, because jobs and failures are rare and scrapes are not.
var noResults, noFailures = zeros(Results()), zeros(Reasons())

func zeros[K comparable](keys []K) map[K]uint64 {
	m := make(map[K]uint64, len(keys))
	for _, k := range keys {
		m[k] = 0
	}
	return m
}

func increment[K comparable](m map[K]uint64, k K) map[K]uint64 {
	m = maps.Clone(m)
	m[k]++
	return m
}

// line applies one line to the state, and to the counters if it is to be counted.
func (s *Session) line(at time.Time, line []byte, count bool) {
	e, known := Parse(line)
	if count {
		s.counts.LogLines++
		if !known && e.Kind == Unrecognized && !e.Time.IsZero() {
			s.counts.Unrecognized++
		}
	}
	if !known {
		return
	}
	if count {
		s.count(at, e)
	}
	s.apply(at, e)
}

// count runs before apply, because some lines only count in the state that they end.
func (s *Session) count(at time.Time, e Event) {
	switch e.Kind {
	case RetryLoop:
		s.counts.RetryLoopMatches++
	case SessionConflict:
		s.counts.SessionConflicts++
	case JobStarted:
		s.counts.JobsStarted++
	case JobCompleted:
		if e.Result == "" { // a result that newer runners may have
			s.counts.Unrecognized++
			break
		}
		s.counts.JobsCompleted = increment(s.Counts().JobsCompleted, e.Result)
		if d := at.Sub(s.state.JobStarted); s.state.JobRunning && d >= 0 && s.jobDone != nil {
			s.jobDone(d)
		}
	case Failure:
		if s.isConsequence(e) {
			break
		}
		s.counts.Failures = increment(s.Counts().Failures, e.Reason)
	}
}

func (s *Session) apply(at time.Time, e Event) {
	switch e.Kind {
	case Version:
		s.state.Version = e.Version
	case Listening:
		// Printed once per process, so a job that was running has ended with its process.
		s.jobEnded()
		if !s.retried || at.Sub(s.state.LastRetry).Abs() >= swapWindow {
			s.retryEnded(at)
		}
		s.state.Listening = true
		s.state.LastFailure = ""
		s.explained = false
	case Connected:
		s.retried = false
	case Reconnected:
		s.retryEnded(at)
	case RetryLoop:
		s.retryBegan(at)
	case RetryAttempt:
		s.state.LastRetry = at
		if s.state.Retrying {
			s.outageEnd = at
		}
	case JobStarted:
		s.retryEnded(at)
		s.outage = time.Time{}
		s.state.JobRunning, s.state.Job, s.state.JobStarted = true, e.Job, at
	case JobCompleted:
		s.jobEnded()
		s.retryEnded(at)
		s.outage = time.Time{}
	case SessionConflict:
		s.explained = true
	case Failure:
		if !s.isConsequence(e) {
			s.state.LastFailure = e.Reason
			s.failures = maps.Clone(s.failures)
			if s.failures == nil {
				s.failures = make(map[Reason]time.Time)
			}
			s.failures[e.Reason] = at
		}
		s.explained = true
	case Exiting:
		s.state.Listening = false
	case Exited:
		s.listenerEnded(at)
	case Notice, JobOffered, JobSkipped, Unrecognized:
	}
}

// isConsequence reports whether a "Failed to create session." only ends what another line has
// already explained.
func (s *Session) isConsequence(e Event) bool {
	return s.explained && e.Reason == Other && len(e.Text) >= len(failedToCreateSession) &&
		e.Text[:len(failedToCreateSession)] == failedToCreateSession
}

func (s *Session) retryBegan(at time.Time) {
	s.retried = true
	if s.state.Retrying { // a relaunched listener prints the line again
		s.state.LastRetry, s.outageEnd = at, at
		return
	}
	if s.outage.IsZero() || at.Sub(s.outageEnd) > FlapWindow {
		s.outage = at
	}
	s.outageEnd = at
	s.state.Retrying, s.state.RetryingSince, s.state.LastRetry = true, s.outage, at
}

func (s *Session) retryEnded(at time.Time) {
	if s.state.Retrying {
		s.outageEnd = at
	}
	s.state.Retrying, s.state.RetryingSince, s.retried = false, time.Time{}, false
}

func (s *Session) jobEnded() {
	s.state.JobRunning, s.state.Job, s.state.JobStarted = false, "", time.Time{}
}

func (s *Session) listenerEnded(at time.Time) {
	s.retryEnded(at)
	s.jobEnded()
	s.state.Listening = false
	s.explained = false
}
