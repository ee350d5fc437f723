// Package collector turns what the adapters know into Prometheus metrics: one file per source, over
// narrow interfaces that are declared beside their use. It holds no threshold (those live in
// rules/) and, except for statfs, does no I/O during a scrape: it reads snapshots that others keep
// in memory.
//
// Absent is not zero: what was not measured is not exported, what is too old is dropped, and events
// are exported as timestamps rather than ages. Metric names are the public contract; each file's
// Descs say what they mean.
//
// A source fails alone: its error becomes ghostrunner_scrape_collector_success 0 for that source
// and one log line when it begins, changes or ends, while all else is exported as usual.
package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Timeout is what one source may take of a scrape. Prometheus gives the whole of it ten seconds by
// default.
const Timeout = 5 * time.Second

// Source is one origin of metrics.
type Source interface {
	// Name is the value of the label collector and of collect[]. Names of sources differ.
	Name() string
	// Collect sends what it can and returns what went wrong. Scrapes can call it at the same time.
	Collect(ctx context.Context, ch chan<- prometheus.Metric) error
}

var (
	scrapeSuccess = prometheus.NewDesc("ghostrunner_scrape_collector_success",
		"Whether this source could be read without an error.", []string{"collector"}, nil)
	scrapeDuration = prometheus.NewDesc("ghostrunner_scrape_collector_duration_seconds",
		"How long reading this source took.", []string{"collector"}, nil)
)

// Set is several sources, which it reads in parallel.
type Set struct {
	logger *slog.Logger
	guards []*guard
}

// NewSet returns a Set over exactly the given sources.
func NewSet(logger *slog.Logger, sources ...Source) *Set {
	s := &Set{logger: logger}
	for _, source := range sources {
		s.guards = append(s.guards, &guard{source: source})
	}
	return s
}

// Gather reads every source at the same time. It returns after Timeout at the latest. Each source
// has a registry for the scrape: no metric belongs to two sources, so their families are joined
// without another check of each metric.
func (s *Set) Gather() ([]*dto.MetricFamily, error) {
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	families := make([][]*dto.MetricFamily, len(s.guards))
	errs := make([]error, len(s.guards))
	results := make([]metrics, len(s.guards))
	var wg sync.WaitGroup
	for i, g := range s.guards {
		wg.Go(func() {
			begin := time.Now()
			r := &reading{guard: g, ctx: ctx}
			families[i], errs[i] = gather(r)
			g.report(s.logger, r.err)
			results[i] = metrics{
				prometheus.MustNewConstMetric(scrapeDuration, prometheus.GaugeValue, time.Since(begin).Seconds(), g.source.Name()),
				prometheus.MustNewConstMetric(scrapeSuccess, prometheus.GaugeValue, boolean(r.err == nil), g.source.Name()),
			}
		})
	}
	wg.Wait()
	own, err := gather(slices.Concat(results...))
	return slices.Concat(append(families, own)...), errors.Join(append(errs, err)...)
}

func gather(c prometheus.Collector) ([]*dto.MetricFamily, error) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(c)
	return registry.Gather()
}

// metrics is a Collector of metrics that are known.
type metrics []prometheus.Metric

// Describe sends nothing, so the registry checks each metric instead.
func (metrics) Describe(chan<- *prometheus.Desc) {}

// Collect sends the metrics.
func (m metrics) Collect(ch chan<- prometheus.Metric) {
	for _, metric := range m {
		ch <- metric
	}
}

// reading is one source as a Collector, for one scrape.
type reading struct {
	*guard
	ctx context.Context //nolint:containedctx // a Collector is not passed one
	err error
}

// Describe sends nothing: which metrics there are depends on what is known.
func (*reading) Describe(chan<- *prometheus.Desc) {}

// Collect reads the source.
func (r *reading) Collect(ch chan<- prometheus.Metric) { r.err = r.collect(r.ctx, ch) }

// only returns the Set of the named sources; all of them if there are no names.
func (s *Set) only(names []string) *Set {
	if len(names) == 0 {
		return s
	}
	out := &Set{logger: s.logger}
	for _, g := range s.guards {
		if slices.Contains(names, g.source.Name()) {
			out.guards = append(out.guards, g)
		}
	}
	return out
}

// guard isolates the scrape from one source.
type guard struct {
	source    Source
	abandoned atomic.Int32 // readings that outlasted their scrape and have not returned

	mu   sync.Mutex
	last string // the error that was logged last; empty: the source works
}

// collect reads the source in a goroutine of its own, so that a reading that outlasts ctx can be
// abandoned. As long as one is abandoned no other is begun.
func (g *guard) collect(ctx context.Context, ch chan<- prometheus.Metric) error {
	if g.abandoned.Load() > 0 {
		return errors.New("an earlier reading has not returned")
	}
	metrics := make(chan prometheus.Metric, 64)
	result := make(chan error, 1)
	go func() {
		defer close(metrics)
		defer func() {
			if p := recover(); p != nil {
				result <- fmt.Errorf("panic: %v", p)
			}
		}()
		result <- g.source.Collect(ctx, metrics)
	}()
	for {
		select {
		case m, more := <-metrics:
			if !more {
				return <-result
			}
			ch <- m
		case <-ctx.Done():
			g.abandoned.Add(1)
			go func() {
				for range metrics { // until it returns
				}
				g.abandoned.Add(-1)
			}()
			return fmt.Errorf("not read within the time of a scrape: %w", ctx.Err())
		}
	}
}

// report logs err if it differs from what was reported last.
func (g *guard) report(logger *slog.Logger, err error) {
	var now string
	if err != nil {
		now = strings.ReplaceAll(err.Error(), "\n", "; ") // of errors.Join
	}
	g.mu.Lock()
	changed := now != g.last
	g.last = now
	g.mu.Unlock()
	switch {
	case !changed:
	case err == nil:
		logger.Info("Source can be read again", "collector", g.source.Name())
	default:
		logger.Warn("Source cannot be read", "collector", g.source.Name(), "err", now)
	}
}

func gauge(ch chan<- prometheus.Metric, d *prometheus.Desc, value float64, labels ...string) {
	send(ch, d, prometheus.GaugeValue, value, labels)
}

func counter(ch chan<- prometheus.Metric, d *prometheus.Desc, value uint64, labels ...string) {
	send(ch, d, prometheus.CounterValue, float64(value), labels)
}

// send replaces what is not valid UTF-8 in the labels, because one bad name (of a container, of a
// path) must not cost the rest of a source.
func send(ch chan<- prometheus.Metric, d *prometheus.Desc, kind prometheus.ValueType, value float64, labels []string) {
	for i, label := range labels {
		labels[i] = strings.ToValidUTF8(label, "\uFFFD")
	}
	ch <- prometheus.MustNewConstMetric(d, kind, value, labels...)
}

// timestamp sends the time of an event as Unix time, and nothing for an event that never was.
func timestamp(ch chan<- prometheus.Metric, d *prometheus.Desc, t time.Time, labels ...string) {
	if !t.IsZero() {
		gauge(ch, d, float64(t.UnixMilli())/1000, labels...)
	}
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// StaleAfter is the age beyond which a measured value is no longer exported.
const StaleAfter = 5 * time.Minute

// fresh reports whether a value known since t is young enough to be exported.
func fresh(t time.Time) bool { return youngerThan(t, StaleAfter) }

// youngerThan uses the wall clock: the monotonic one stands still while the machine sleeps. A time
// in the future is from before the clock was set back, so its age is not known.
func youngerThan(t time.Time, limit time.Duration) bool {
	age := time.Now().Round(0).Sub(t.Round(0))
	return !t.IsZero() && -limit <= age && age <= limit
}
