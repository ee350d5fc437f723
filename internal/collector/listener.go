package collector

import (
	"context"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/blueguy23/ghostrunner/internal/listener"
)

// What the runners print comes from the logs of their containers, followed in the background; a
// scrape reads the state machines. The state of a runner is exported only while Docker answers and
// once its log was read to its end. Counters live as long as this process; a replay of the log
// restores the state and the times of failures.

var (
	retryLoopMatches = prometheus.NewDesc("ghostrunner_runner_retry_loop_matches_total",
		"Lines that say \"Retrying until reconnected.\"; an outage prints one or two, however long it is.", []string{"runner"}, nil)
	retrying = prometheus.NewDesc("ghostrunner_runner_retrying",
		"Whether the runner is in its retry loop, with no evidence of recovery since.", []string{"runner"}, nil)
	retryingSince = prometheus.NewDesc("ghostrunner_runner_retrying_since_timestamp_seconds",
		"When the present retry loop began; absent outside of one.", []string{"runner"}, nil)
	sessionConflicts = prometheus.NewDesc("ghostrunner_runner_session_conflicts_total",
		"Refusals because another session of this runner exists.", []string{"runner"}, nil)
	runnerFailures = prometheus.NewDesc("ghostrunner_runner_failures_total",
		"Times that the runner gave up, by the reason that it printed; absent before the first time.", []string{"runner", "reason"}, nil)
	lastFailure = prometheus.NewDesc("ghostrunner_runner_last_failure_timestamp_seconds",
		"When the runner last gave up, by the reason that it printed; absent if it never did.",
		[]string{"runner", "reason"}, nil)
	jobsStarted = prometheus.NewDesc("ghostrunner_runner_jobs_started_total",
		"Jobs that began.", []string{"runner"}, nil)
	jobsCompleted = prometheus.NewDesc("ghostrunner_runner_jobs_completed_total",
		"Jobs that ended, in the runner's words, which can differ from GitHub's conclusion.", []string{"runner", "result"}, nil)
	jobRunning = prometheus.NewDesc("ghostrunner_runner_job_running",
		"Whether a job runs, by the log; the end of the process ends it too.", []string{"runner"}, nil)
	logLines = prometheus.NewDesc("ghostrunner_runner_log_lines_total",
		"Lines read from the container's log.", []string{"runner"}, nil)
	unrecognizedLines = prometheus.NewDesc("ghostrunner_runner_unrecognised_lines_total",
		"Lines with the listener's time stamp whose meaning is not known.", []string{"runner"}, nil)
)

// Logs returns the state of every slot whose log is followed, without any I/O.
type Logs interface{ Slots() []listener.Slot }

// JobDurations is the histogram of how long jobs took, over all runners.
type JobDurations struct{ histogram prometheus.Histogram }

// NewJobDurations returns an empty histogram.
func NewJobDurations() JobDurations {
	return JobDurations{prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "ghostrunner_runner_job_duration_seconds",
		Help:    "How long jobs took, over all runners.",
		Buckets: []float64{5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600},
	})}
}

// Observe counts one job.
func (d JobDurations) Observe(took time.Duration) { d.histogram.Observe(took.Seconds()) }

type listenerSource struct {
	logs   Logs
	docker Docker
	jobs   JobDurations
}

// NewListener returns the source "listener".
func NewListener(logs Logs, docker Docker, jobs JobDurations) Source {
	return listenerSource{logs, docker, jobs}
}

func (listenerSource) Name() string { return NameListener }

// The values of the labels reason and result, sorted.
var reasons, results = slices.Sorted(slices.Values(listener.Reasons())), slices.Sorted(slices.Values(listener.Results()))

// Collect begins the counters at 0, so that the first event is seen as an increase; those of
// failures begin with the first one, because they would be a fifth of all series and lastFailure
// shows it. It sends the series of each metric sorted: the registry would spend a fifth of a large
// scrape on sorting them.
func (s listenerSource) Collect(_ context.Context, ch chan<- prometheus.Metric) error {
	_, up := s.docker.Observed()
	slots := s.logs.Slots()
	for i := range slots {
		slot := &slots[i]
		if up && slot.Known {
			gauge(ch, retrying, boolean(slot.State.Retrying), slot.Runner)
			timestamp(ch, retryingSince, slot.State.RetryingSince, slot.Runner)
			gauge(ch, jobRunning, boolean(slot.State.JobRunning), slot.Runner)
		}
		counter(ch, retryLoopMatches, slot.Counts.RetryLoopMatches, slot.Runner)
		counter(ch, sessionConflicts, slot.Counts.SessionConflicts, slot.Runner)
		counter(ch, jobsStarted, slot.Counts.JobsStarted, slot.Runner)
		counter(ch, logLines, slot.Counts.LogLines, slot.Runner)
		counter(ch, unrecognizedLines, slot.Counts.Unrecognized, slot.Runner)
	}
	for _, reason := range reasons {
		for i := range slots {
			if n := slots[i].Counts.Failures[reason]; n > 0 {
				counter(ch, runnerFailures, n, slots[i].Runner, string(reason))
			}
			timestamp(ch, lastFailure, slots[i].LastFailures[reason], slots[i].Runner, string(reason))
		}
	}
	for _, result := range results {
		for i := range slots {
			counter(ch, jobsCompleted, slots[i].Counts.JobsCompleted[result], slots[i].Runner, string(result))
		}
	}
	s.jobs.histogram.Collect(ch)
	return nil
}
