package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/measure"
)

const (
	// scrapeInterval is shorter than that of the shipped configuration for anything but health.
	scrapeInterval = 2 * time.Second
	// settle is how long after its start the exporter may still be busy with it.
	settle = 10 * time.Second
	// scrapes are timed, one right after the other.
	scrapes = 500
)

// upTo is the budget with that number of runners, none where nothing is promised.
func upTo(n int, few, many float64) *measure.Budget {
	switch {
	case n <= 2:
		return measure.AtMost(few)
	case n <= 1000:
		return measure.AtMost(many)
	}
	return nil
}

// scrape measures exporters to whose runners nothing happens. GitHub is simulated, and Docker too:
// an engine on a socket that lists the runners, and keeps the log of each open. It stands for the
// engine to the letter of the API; to the exporter a container more is a line in a list and a
// connection that stays open.
func (b *bench) scrape(ctx context.Context) (all []measure.Figure, err error) {
	for _, n := range b.runners {
		fmt.Fprintf(b.out, "  · %d runners: idle for %s, then %d scrapes\n", n, b.idle, scrapes)
		figures, err := b.still(ctx, n)
		if err != nil {
			return all, fmt.Errorf("%d runners: %w", n, err)
		}
		all = append(all, figures...)
	}
	return all, nil
}

func (b *bench) still(ctx context.Context, n int) (all []measure.Figure, err error) {
	e, end, err := b.simulated(ctx, n)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, end()) }()
	whole, err := e.whole(ctx, n)
	if err != nil {
		return nil, err
	}
	if err := measure.Every(ctx, scrapeInterval, settle, func() error { _, _, err := e.scrape(ctx); return err }); err != nil {
		return nil, err
	}
	var resident float64
	idle, err := e.CPUOf(func() error {
		return measure.Every(ctx, scrapeInterval, b.idle, func() error {
			if _, _, err := e.scrape(ctx); err != nil {
				return err
			}
			now, err := measure.Memory(e.PID, "VmRSS")
			resident = max(resident, now)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	peak, err := measure.Memory(e.PID, "VmHWM")
	if err != nil {
		return nil, err
	}
	figure := func(name string, value float64, unit string, budget *measure.Budget) {
		all = append(all, measure.Figure{Part: "scrape", Name: fmt.Sprintf("%d runners: %s", n, name), Value: value, Unit: unit, Budget: budget})
	}
	figure("start to the first whole page", whole.Seconds(), measure.Seconds, upTo(n, 0.5, 0.5))
	figure("memory resident, the most while idle", resident, measure.Bytes, upTo(n, 30<<20, 150<<20))
	figure("memory resident, the most ever", peak, measure.Bytes, nil)
	var budget *measure.Budget
	if n <= 2 {
		budget = measure.AtMost(0.18) // 0.3 % of a core
	}
	figure("CPU while idle, scraped each 2 s", measure.PerMinute(idle, b.idle), measure.CPUPerMinute, budget)
	s, err := e.scrapes(ctx)
	if err != nil {
		return nil, err
	}
	figure("scrape, p50", measure.Quantile(s.took, 0.5), measure.Seconds, nil)
	figure("scrape, p99", measure.Quantile(s.took, 0.99), measure.Seconds, upTo(n, 0.005, 0.06))
	figure("scrape, CPU", s.cpu, measure.CPUSeconds, nil)
	figure("scrape, allocated", s.allocated, measure.Allocated, nil)
	figure("scrape, compressed answer", s.bytes, measure.Bytes, nil)
	return all, nil
}

// whole waits for a scrape in which all that there is to know of each runner is known, and returns
// the time since the start, to within a pause that leaves the exporter the time for its start.
func (e exporter) whole(ctx context.Context, n int) (took time.Duration, err error) {
	err = measure.Until(ctx, "a whole /metrics", 100*time.Millisecond, func() (bool, error) {
		p, err := e.read(ctx, "")
		took = time.Since(e.Began)
		for _, name := range []string{
			"ghostrunner_runner_online", "ghostrunner_runner_job_running", "ghostrunner_runner_info", "ghostrunner_container_healthy",
			"ghostrunner_container_starts_total", "ghostrunner_runner_log_lines_total",
		} {
			if series(p, name) != n {
				return false, err
			}
		}
		_, known, sumErr := p.Sum("ghostrunner_pat_valid", nil)
		return known && series(p, "ghostrunner_disk_free_bytes") > 0 && series(p, "ghostrunner_dns_lookup_success") > 0, errors.Join(err, sumErr)
	})
	return took, err
}

// scraped is what some scrapes took.
type scraped struct {
	took           []float64 // seconds
	cpu, allocated float64   // of one, in seconds and bytes
	bytes          float64   // of the last answer
}

func (e exporter) scrapes(ctx context.Context) (s scraped, err error) {
	allocated := func() (float64, error) {
		return e.value(ctx, "?collect[]=exporter", "go_memstats_alloc_bytes_total", nil)
	}
	before, err := allocated()
	if err != nil {
		return s, err
	}
	cpu, err := e.CPUOf(func() error {
		for range scrapes {
			raw, took, err := e.scrape(ctx)
			if err != nil {
				return err
			}
			s.took, s.bytes = append(s.took, took.Seconds()), float64(len(raw))
		}
		return nil
	})
	if err != nil {
		return s, err
	}
	after, err := allocated()
	s.cpu, s.allocated = cpu.Seconds()/scrapes, (after-before)/scrapes
	return s, err
}

// serve answers on an address and returns it.
func serve(network, address string, h http.Handler) (string, func() error, error) {
	l, err := net.Listen(network, address) //nolint:noctx // it takes no time
	if err != nil {
		return "", nil, err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }()
	return l.Addr().String(), s.Close, nil
}
