package remedy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
)

const (
	namespace = "ghostrunner"
	subsystem = "remediator"
)

// metrics are the counters that live in memory only. What is on disk or is state
// is read at the time of the scrape by stateCollector.
type metrics struct {
	actions, failures, refused *prometheus.CounterVec
	duration, reaction         *prometheus.HistogramVec
	reclaimed, alerts          *prometheus.CounterVec
	requests                   *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Namespace: namespace, Subsystem: subsystem, Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets []float64) *prometheus.HistogramVec {
		return f.NewHistogramVec(prometheus.HistogramOpts{
			Namespace: namespace, Subsystem: subsystem, Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100,
			NativeHistogramMinResetDuration: time.Hour,
		}, []string{"action"})
	}
	m := &metrics{
		actions:   counter("actions_total", "Actions that were done and verified.", "action", "target"),
		failures:  counter("action_failures_total", "Actions that were begun and did not succeed.", "action", "target", "reason"),
		refused:   counter("actions_refused_total", "Alerts that a guard refused to act on.", "action", "reason"),
		duration:  histogram("action_duration_seconds", "From the beginning of an action to its verified end.", []float64{.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600}),
		reaction:  histogram("reaction_seconds", "From the start of the alert to the beginning of the action.", []float64{1, 2.5, 5, 10, 15, 30, 60, 120, 300, 900}),
		reclaimed: counter("reclaimed_bytes_total", "Bytes that were removed from the disk, as Docker counts them.", "kind"),
		alerts:    counter("alerts_received_total", "Alerts in accepted webhooks.", "status"),
		requests:  counter("webhook_requests_total", "Webhook requests by HTTP status code.", "code"),
	}
	for _, a := range []string{ActionRestart, ActionBackoff, ActionPrune, actionUnknown} {
		for _, reason := range Reasons {
			m.refused.WithLabelValues(a, string(reason))
		}
		if a != actionUnknown {
			m.duration.WithLabelValues(a)
			m.reaction.WithLabelValues(a)
		}
	}
	m.target(ActionPrune, targetEngine)
	for _, reason := range failReasons {
		m.failures.WithLabelValues(ActionPrune, targetEngine, reason)
	}
	for _, kind := range pruneKinds {
		m.reclaimed.WithLabelValues(kind)
	}
	m.alerts.WithLabelValues(statusFiring)
	m.alerts.WithLabelValues(statusResolved)
	for _, code := range []string{"202", "400", "401", "405", "413", "415", "503"} {
		m.requests.WithLabelValues(code)
	}
	return m
}

// actionUnknown stands for every name that is no action, so that an alert cannot
// make series.
const actionUnknown = "unknown"

// target makes the series of an action on a target exist before the first event:
// an increase from nothing is invisible to Prometheus. Its failures are left to
// begin with the first one, which the rules know: a runner has a dozen of them, and
// with a thousand runners they would be most of what Prometheus has to look at.
func (m *metrics) target(action, target string) {
	m.actions.WithLabelValues(action, target)
}

// stateCollector exports what the remediator remembers.
type stateCollector struct{ r *Remediator }

var (
	descFires = prometheus.NewDesc("ghostrunner_watchdog_fires_total",
		"Restarts ordered because of a retry loop. Survives restarts of the remediator.", []string{"runner"}, nil)
	descOpen = prometheus.NewDesc("ghostrunner_remediator_breaker_open",
		"1 while the runner is stopped for a back-off.", []string{"runner"}, nil)
	descUntil = prometheus.NewDesc("ghostrunner_remediator_breaker_open_until_timestamp_seconds",
		"When the runner is or was started again; in the past while on probation, absent once closed.", []string{"runner"}, nil)
	descQueue = prometheus.NewDesc("ghostrunner_remediator_queue_length",
		"Accepted alerts that wait for a decision.", nil, nil)
	descHeartbeat = prometheus.NewDesc("ghostrunner_remediator_heartbeat_timestamp_seconds",
		"When the last Watchdog alert was received; absent before the first.", nil, nil)
	descPaused = prometheus.NewDesc("ghostrunner_remediator_paused",
		"1 while paused by an operator.", nil, nil)
	descDryRun = prometheus.NewDesc("ghostrunner_remediator_dry_run",
		"1 if configured to decide only.", nil, nil)
	descFallback = prometheus.NewDesc("ghostrunner_remediator_fallback_active",
		"1 while no heartbeat comes and unhealthy containers are restarted without it.", nil, nil)
	descUnfinished = prometheus.NewDesc("ghostrunner_remediator_unfinished_actions",
		"Containers that were taken down and not yet seen running again.", nil, nil)
	descDecision = prometheus.NewDesc("ghostrunner_remediator_last_decision_timestamp_seconds",
		"When this was last decided about the target; of all actions taken the latest, and of all refusals the latest.",
		[]string{"action", "target", "outcome", "reason"}, nil)
	descJournal = prometheus.NewDesc("ghostrunner_remediator_journal_up",
		"1 if the journal can be written; without it nothing is done.", nil, nil)
)

// Describe implements prometheus.Collector.
func (c stateCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		descFires, descOpen, descUntil, descQueue, descHeartbeat, descPaused, descDryRun, descFallback, descUnfinished, descDecision, descJournal,
	} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. It reads memory only.
func (c stateCollector) Collect(ch chan<- prometheus.Metric) {
	r := c.r
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	writable := r.writable() == nil
	r.mu.Lock()
	defer r.mu.Unlock()
	for runner, n := range r.state.fires {
		ch <- prometheus.MustNewConstMetric(descFires, prometheus.CounterValue, float64(n), runner)
		b := r.state.breakers[runner]
		gauge(descOpen, truth(b.State == Open), runner)
		if b.State == Open || b.State == HalfOpen {
			gauge(descUntil, seconds(b.Until), runner)
		}
	}
	gauge(descQueue, float64(r.state.queue))
	if !r.state.heartbeat.IsZero() {
		gauge(descHeartbeat, seconds(r.state.heartbeat))
	}
	gauge(descPaused, truth(r.state.pausedAt(time.Now())))
	gauge(descDryRun, truth(r.opts.DryRun))
	gauge(descFallback, truth(r.silentAt(time.Now()) != nil))
	gauge(descUnfinished, float64(len(r.state.debts)))
	for _, rec := range r.state.lastDecisions() {
		gauge(descDecision, seconds(rec.at()), rec.Action, rec.Target, string(rec.Outcome), rec.Reason)
	}
	gauge(descJournal, truth(writable))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// seconds is a time as Prometheus writes it.
func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }
