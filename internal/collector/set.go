// Package collector turns what the adapters know into Prometheus metrics: one file per source, over narrow interfaces
// that are declared beside their use. It holds no opinion (every threshold lives in rules/) and, but for statfs, does no
// I/O during a scrape: it reads snapshots that others keep in memory.
//
// Absent is not zero: what was not measured is not exported, what is too old is dropped, and events are exported as
// timestamps rather than ages. Metric names are the public contract; each file's Descs say what they mean.
//
// A source fails alone: its error becomes ghostrunner_scrape_collector_success 0 for that source and one log line when
// it begins, changes or ends, while everything else is exported as usual.
package collector

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// Timeout is what one source may take of a scrape. Prometheus gives the whole of it ten seconds by default.
const Timeout = 5 * time.Second

// Source is one origin of metrics.
type Source interface {
	// Name is the value of the collector label and of collect[]. Names of sources differ.
	Name() string
	// Collect gives what it can, then returns what went wrong. Scrapes can call it at the same time.
	Collect(ctx context.Context, out *Samples) error
}

var (
	scrapeSuccess = newDesc("ghostrunner_scrape_collector_success",
		"Whether this source could be read without an error.", "collector")
	scrapeDuration = newDesc("ghostrunner_scrape_collector_duration_seconds",
		"How long reading this source took.", "collector")
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

// Gather implements prometheus.Gatherer. The error is always nil: a source that fails is a metric.
func (s *Set) Gather() ([]*dto.MetricFamily, error) {
	return s.gather(func(string) bool { return true }), nil
}

// gather reads the sources that keep accepts. It returns after Timeout at the latest. What it returns must not be changed.
func (s *Set) gather(keep func(name string) bool) []*dto.MetricFamily {
	ctx, cancel := context.WithTimeout(context.Background(), Timeout)
	defer cancel()
	type reading struct {
		samples *Samples
		took    time.Duration
		err     error
	}
	readings := make([]reading, len(s.guards))
	var wg sync.WaitGroup
	for i, g := range s.guards {
		if keep(g.source.Name()) {
			wg.Go(func() {
				begin := time.Now()
				samples, err := g.collect(ctx)
				g.report(s.logger, err)
				readings[i] = reading{samples, time.Since(begin), err}
			})
		}
	}
	wg.Wait()
	var out []*dto.MetricFamily
	own := newSamples(nil)
	for i, r := range readings {
		if r.samples != nil {
			name := s.guards[i].source.Name()
			gauge(own, scrapeDuration, r.took.Seconds(), name)
			gauge(own, scrapeSuccess, boolean(r.err == nil), name)
			out = r.samples.appendTo(out)
		}
	}
	return own.appendTo(out)
}

// guard keeps one source from harming a scrape, whatever it does.
type guard struct {
	source Source

	mu        sync.Mutex
	abandoned int               // runs that outlasted their scrape and have not come back
	last      string            // the error that was logged last; empty: the source works
	before    map[*desc]*family // what was read last
}

var errHangs = errors.New("an earlier reading still hangs")

// collect reads the source in a goroutine of its own, so that a reading which outlasts ctx can be left behind, with all that
// it gave. As long as one is left behind no other is begun. The samples are never nil.
func (g *guard) collect(ctx context.Context) (*Samples, error) {
	if g.leftBehind(0) > 0 {
		return newSamples(nil), errHangs
	}
	g.mu.Lock()
	samples := newSamples(g.before)
	g.mu.Unlock()
	result := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				result <- fmt.Errorf("panic: %v", p)
			}
		}()
		result <- g.source.Collect(ctx, samples)
	}()
	select {
	case err := <-result:
		g.mu.Lock()
		g.before = samples.families
		g.mu.Unlock()
		samples.before = nil
		return samples, err
	case <-ctx.Done():
		g.leftBehind(1)
		go func() {
			<-result // let it run to its end
			g.leftBehind(-1)
		}()
		return newSamples(nil), fmt.Errorf("not read within the time of a scrape: %w", ctx.Err())
	}
}

func (g *guard) leftBehind(change int) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.abandoned += change
	return g.abandoned
}

// report logs err if it differs from what was reported last.
func (g *guard) report(logger *slog.Logger, err error) {
	var now string
	if err != nil {
		now = oneLine(err)
	}
	g.mu.Lock()
	changed := now != g.last
	g.last = now
	g.mu.Unlock()
	switch {
	case !changed:
	case err == nil:
		logger.Info("source can be read again", "collector", g.source.Name())
	default:
		logger.Warn("source cannot be read", "collector", g.source.Name(), "err", now)
	}
}

// oneLine undoes the line breaks of errors.Join.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

var _ prometheus.Gatherer = (*Set)(nil)
