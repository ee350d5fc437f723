package collector

import (
	"context"

	"github.com/blueguy23/ghostrunner/internal/listener"
)

// What the runners themselves say comes from the logs of their containers, followed in the background; a scrape reads
// the state machines. What a runner is doing is exported only while Docker answers and once its log has told anything,
// because without logs nobody knows; what was counted stays.

var (
	retryLoopMatches = newDesc("ghostrunner_runner_retry_loop_matches_total",
		"Lines that say \"Retrying until reconnected.\"; an outage prints one or two, however long it is.", "runner")
	retryAttempts = newDesc("ghostrunner_runner_retry_attempts_total",
		"Attempts to reconnect, from the runner's diagnostic lines.", "runner")
	retrying = newDesc("ghostrunner_runner_retrying",
		"Whether the runner is in its retry loop, with no evidence of recovery since.", "runner")
	retryingSince = newDesc("ghostrunner_runner_retrying_since_timestamp_seconds",
		"When the present retry loop began; absent outside of one.", "runner")
	sessionConflicts = newDesc("ghostrunner_runner_session_conflicts_total",
		"Refusals because another session of this runner exists.", "runner")
	runnerFailures = newDesc("ghostrunner_runner_failures_total",
		"Times that the runner gave up, by what it said.", "runner", "reason")
	jobsStarted = newDesc("ghostrunner_runner_jobs_started_total",
		"Jobs that began.", "runner")
	jobsCompleted = newDesc("ghostrunner_runner_jobs_completed_total",
		"Jobs that ended, in the runner's words, which can differ from GitHub's conclusion.", "runner", "result")
	jobRunning = newDesc("ghostrunner_runner_job_running",
		"Whether a job runs, by the log; the end of the process ends it too.", "runner")
	jobDuration = newDesc("ghostrunner_runner_job_duration_seconds",
		"How long jobs took, over all runners.")
	logLines = newDesc("ghostrunner_runner_log_lines_total",
		"Lines read from the container's log.", "runner")
	unrecognisedLines = newDesc("ghostrunner_runner_unrecognised_lines_total",
		"Lines with the listener's time stamp whose meaning is not known.", "runner")
)

// The values of the labels reason and result.
var reasons, results = listener.Reasons(), listener.Results()

// Logs gives the state of every slot whose log is followed, and the durations of their jobs, without any I/O. Durations
// without buckets are not known yet.
type Logs interface {
	Slots
	JobDurations() listener.Durations
}

type listenerSource struct {
	logs       Logs
	containers Containers
}

// NewListener returns the source "listener".
func NewListener(logs Logs, containers Containers) Source { return listenerSource{logs, containers} }

func (listenerSource) Name() string { return NameListener }

func (s listenerSource) Collect(_ context.Context, out *Samples) error {
	up := s.containers.Containers().Up
	for _, slot := range s.logs.Slots() {
		if up && heard(slot) {
			gauge(out, retrying, boolean(slot.State.Retrying), slot.Runner)
			if slot.State.Retrying {
				timestamp(out, retryingSince, slot.State.RetryingSince, slot.Runner)
			}
			gauge(out, jobRunning, boolean(slot.State.JobRunning), slot.Runner)
		}
		sendCounts(out, slot.Runner, slot.Counts)
	}
	if d := s.logs.JobDurations(); d.Buckets != nil {
		histogram(out, jobDuration, d.Count, d.Sum, d.Buckets)
	}
	return nil
}

// heard tells whether the log of the slot was ever read: one that cannot be read, because of its log driver or its damage,
// looks like that of a runner that does nothing.
func heard(s listener.Slot) bool {
	return s.Counts.LogLines > 0 || s.State.Version != "" || s.State.Listening || s.State.Retrying || s.State.JobRunning
}

// sendCounts begins every series at 0, so that the first event is seen as an increase.
func sendCounts(out *Samples, runner string, c listener.Counts) {
	counter(out, retryLoopMatches, c.RetryLoopMatches, runner)
	counter(out, retryAttempts, c.RetryAttempts, runner)
	counter(out, sessionConflicts, c.SessionConflicts, runner)
	for _, reason := range reasons {
		counter(out, runnerFailures, c.Failures[reason], runner, string(reason))
	}
	counter(out, jobsStarted, c.JobsStarted, runner)
	for _, result := range results {
		counter(out, jobsCompleted, c.JobsCompleted[result], runner, string(result))
	}
	counter(out, logLines, c.LogLines, runner)
	counter(out, unrecognisedLines, c.Unrecognised, runner)
}
