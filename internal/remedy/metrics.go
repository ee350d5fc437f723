package remedy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/remedy/prune"
)

// metrics are the counters that live in memory only; see stateCollector for the others.
type metrics struct {
	actions, failures, refused *prometheus.CounterVec
	duration, reaction         *prometheus.HistogramVec
	reclaimed, alerts          *prometheus.CounterVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	f := promauto.With(reg)
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return f.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	histogram := func(name, help string, buckets ...float64) *prometheus.HistogramVec {
		return f.NewHistogramVec(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: buckets,
			NativeHistogramBucketFactor: 1.1, NativeHistogramMaxBucketNumber: 100, NativeHistogramMinResetDuration: time.Hour,
		}, []string{"action"})
	}
	m := &metrics{
		actions:   counter("ghostrunner_remediator_actions_total", "Actions that were done and verified.", "action", "target"),
		failures:  counter("ghostrunner_remediator_action_failures_total", "Actions that were begun and did not succeed.", "action", "target", "reason"),
		refused:   counter("ghostrunner_remediator_actions_refused_total", "Alerts that a guard refused to act on.", "action", "reason"),
		reclaimed: counter("ghostrunner_remediator_reclaimed_bytes_total", "Bytes that were removed from the disk, as Docker counts them.", "kind"),
		alerts:    counter("ghostrunner_remediator_alerts_received_total", "Alerts in accepted webhooks.", "status"),
		duration: histogram("ghostrunner_remediator_action_duration_seconds", "From the beginning of an action to its verified end.",
			.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
		reaction: histogram("ghostrunner_remediator_reaction_seconds", "From the start of the alert to the beginning of the action.",
			1, 2.5, 5, 10, 15, 30, 60, 120, 300, 900),
	}
	for _, a := range []string{ActionRestart, ActionBackoff, ActionPrune, actionUnknown} {
		for _, reason := range Reasons {
			m.refused.WithLabelValues(a, reason)
		}
		if a != actionUnknown {
			m.duration.WithLabelValues(a)
			m.reaction.WithLabelValues(a)
		}
	}
	m.target(ActionPrune, targetEngine)
	for _, reason := range []string{failBusy, failDocker, failNotEnough} {
		m.failures.WithLabelValues(ActionPrune, targetEngine, reason)
	}
	for _, kind := range prune.Kinds {
		m.reclaimed.WithLabelValues(kind)
	}
	m.alerts.WithLabelValues("firing")
	m.alerts.WithLabelValues("resolved")
	return m
}

// target makes the series of an action on a target exist before the first event: an increase from
// nothing is invisible to Prometheus. Its failures are left to begin with the first one, which the
// rules know: a runner has several, and with a thousand runners they would be most of all series.
func (m *metrics) target(action, target string) { m.actions.WithLabelValues(action, target) }

func (m *metrics) ended(rec journal.Record) {
	m.duration.WithLabelValues(rec.Action).Observe(rec.Ended.Sub(rec.Began).Seconds())
	if rec.Outcome == journal.Failed {
		m.failures.WithLabelValues(rec.Action, rec.Target, rec.Reason).Inc()
		return
	}
	m.actions.WithLabelValues(rec.Action, rec.Target).Inc()
}

func registerState(r *Remediator, reg prometheus.Registerer) {
	f := promauto.With(reg)
	gauge := func(name, help string, value func() float64) {
		f.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, value)
	}
	gauge("ghostrunner_remediator_queue_length", "Accepted alerts that wait for a decision.",
		func() float64 { return float64(r.store.State().Queue) })
	gauge("ghostrunner_remediator_paused", "1 while paused by an operator.",
		func() float64 { paused, _ := r.store.State().Pause.At(r.opts.now()); return truth(paused) })
	gauge("ghostrunner_remediator_dry_run", "1 if configured to decide only.",
		func() float64 { return truth(r.opts.DryRun) })
	gauge("ghostrunner_remediator_fallback_active", "1 while no heartbeat comes and unhealthy containers are restarted without it.",
		func() float64 { return truth(r.pipeline.silent() != nil) })
	gauge("ghostrunner_remediator_unfinished_actions", "Containers that were taken down and not yet seen running again.",
		func() float64 { return float64(len(r.store.State().Starts)) })
	gauge("ghostrunner_remediator_journal_up", "1 if the journal can be written; without it nothing is done.",
		func() float64 { return truth(r.store.Err() == nil) })
	reg.MustRegister(stateCollector{r})
}

// stateCollector exports what has labels, or is absent at times.
type stateCollector struct{ r *Remediator }

var (
	descFires = prometheus.NewDesc("ghostrunner_watchdog_fires_total",
		"Restarts ordered because of a retry loop. Survives restarts of the remediator.", []string{"runner"}, nil)
	descOpen = prometheus.NewDesc("ghostrunner_remediator_breaker_open",
		"1 while the runner is stopped for a back-off.", []string{"runner"}, nil)
	descUntil = prometheus.NewDesc("ghostrunner_remediator_breaker_open_until_timestamp_seconds",
		"When the runner is or was started again; in the past while on probation, absent once closed.", []string{"runner"}, nil)
	descHeartbeat = prometheus.NewDesc("ghostrunner_remediator_heartbeat_timestamp_seconds",
		"When the last Watchdog alert was received; absent before the first.", nil, nil)
	descDecision = prometheus.NewDesc("ghostrunner_remediator_last_decision_timestamp_seconds",
		"When this was last decided about the target; of all actions taken the latest, and of all refusals the latest.",
		[]string{"action", "target", "outcome", "reason"}, nil)
)

// Describe makes the collector unchecked: at first it has no metric.
func (stateCollector) Describe(chan<- *prometheus.Desc) {}

// Collect reads memory only.
func (c stateCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	r, state, now := c.r, c.r.store.State(), c.r.opts.now()
	for name, n := range state.Fires {
		ch <- prometheus.MustNewConstMetric(descFires, prometheus.CounterValue, float64(n), name)
		b, ok := state.Breakers[name]
		if gauge(descOpen, truth(b.State == journal.Open), name); ok {
			gauge(descUntil, seconds(openUntil(b, now)), name)
		}
	}
	if heartbeat := r.pipeline.lastHeartbeat(); !heartbeat.IsZero() {
		gauge(descHeartbeat, seconds(heartbeat))
	}
	for _, rec := range state.LastDecisions() {
		gauge(descDecision, seconds(rec.At()), rec.Action, rec.Target, string(rec.Outcome), rec.Reason)
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }
