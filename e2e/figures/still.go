package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"time"
)

const (
	// scrapeInterval is shorter than that of the shipped configuration for anything but health.
	scrapeInterval = 2 * time.Second
	// settle is how long after its start the exporter may still be busy with it.
	settle = 10 * time.Second
)

// budget is what may be used with that number of runners, 0 where nothing is promised.
func budget(n int, few, many float64) float64 {
	switch {
	case n <= 2:
		return few
	case n <= 1000:
		return many
	}
	return 0
}

// still measures an exporter of n runners to which nothing happens.
func (b *bench) still(ctx context.Context, n int) (all []figure, err error) {
	engine, stopEngine, err := serve("unix", filepath.Join(b.dir, fmt.Sprintf("%d.sock", n)), docker(n))
	if err != nil {
		return nil, err
	}
	defer stopEngine()
	hub, stopHub, err := serve("tcp", "127.0.0.1:0", gitHub(n))
	if err != nil {
		return nil, err
	}
	defer stopHub()
	e, err := b.start(ctx, "unix://"+engine, "http://"+hub)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.stop()) }()

	begun, err := e.whole(ctx, n)
	if err != nil {
		return nil, err
	}
	if err := every(ctx, scrapeInterval, settle, func() error { _, _, err := e.scrape(ctx); return err }); err != nil {
		return nil, err
	}
	before, err := e.cpu()
	if err != nil {
		return nil, err
	}
	var resident float64
	from := time.Now()
	err = every(ctx, scrapeInterval, b.idle, func() error {
		if _, _, err := e.scrape(ctx); err != nil {
			return err
		}
		now, err := e.memory("VmRSS")
		resident = max(resident, now)
		return err
	})
	if err != nil {
		return nil, err
	}
	after, err := e.cpu()
	if err != nil {
		return nil, err
	}
	idle := (after - before).Seconds() / time.Since(from).Seconds()
	peak, err := e.memory("VmHWM")
	if err != nil {
		return nil, err
	}
	s, err := e.scrapes(ctx, b.scrapes)
	if err != nil {
		return nil, err
	}
	with := func(what string) string { return fmt.Sprintf("%d runners: %s", n, what) }
	return []figure{
		{with("start to the first whole /metrics"), "ms", millis(begun), 500},
		{with("resident memory, the most while idle"), "MiB", resident, budget(n, 30, 100)},
		{with("resident memory, the most ever"), "MiB", peak, 0},
		{with("CPU while idle, scraped each 2 s"), "% of a core", 100 * idle, budget(n, 0.3, 0)},
		{with("scrape, p50"), "ms", millis(s.quantile(0.5)), 0},
		{with("scrape, p99"), "ms", millis(s.quantile(0.99)), budget(n, 2, 25)},
		{with("scrape, CPU"), "ms", millis(s.cpu), 0},
		{with("scrape, allocated"), "MB", s.allocated / 1e6, budget(n, 2, 2)},
		{with("scrape, answer"), "kB compressed", float64(s.bytes) / 1e3, 0},
	}, nil
}

// whole waits for a scrape in which all that there is to know of each runner is known, and returns the time since the start, to
// within a pause that leaves the exporter the time for its start.
func (e *exporter) whole(ctx context.Context, n int) (time.Duration, error) {
	const pause = 20 * time.Millisecond
	var took time.Duration
	err := until(ctx, "a whole /metrics", pause, func() (bool, error) {
		p, err := e.read(ctx, "")
		took = time.Since(e.begun)
		for _, name := range []string{
			"ghostrunner_runner_online", "ghostrunner_runner_job_running", "ghostrunner_runner_info", "ghostrunner_container_healthy",
			"ghostrunner_container_starts_total", "ghostrunner_runner_log_lines_total",
		} {
			if p.series(name) != n {
				return false, err
			}
		}
		_, known := p.value("ghostrunner_pat_valid")
		return known && p.series("ghostrunner_disk_free_bytes") > 0 && p.series("ghostrunner_dns_lookup_success") > 0, err
	})
	return took, err
}

// scraped is what some scrapes, one right after the other, took.
type scraped struct {
	took      []time.Duration // sorted
	cpu       time.Duration   // of one
	allocated float64         // bytes, by one
	bytes     int             // of the last answer
}

func (s *scraped) quantile(q float64) time.Duration { return s.took[int(q*float64(len(s.took)-1))] }

func (e *exporter) scrapes(ctx context.Context, n int) (*scraped, error) {
	allocated := func() (float64, error) {
		p, err := e.read(ctx, "?collect[]=exporter")
		v, _ := p.value("go_memstats_alloc_bytes_total")
		return v, err
	}
	a0, err := allocated()
	if err != nil {
		return nil, err
	}
	c0, err := e.cpu()
	if err != nil {
		return nil, err
	}
	s := &scraped{}
	for range n {
		raw, took, err := e.scrape(ctx)
		if err != nil {
			return nil, err
		}
		s.took, s.bytes = append(s.took, took), len(raw)
	}
	c1, err := e.cpu()
	if err != nil {
		return nil, err
	}
	a1, err := allocated()
	if err != nil {
		return nil, err
	}
	s.cpu, s.allocated = (c1-c0)/time.Duration(n), (a1-a0)/float64(n)
	slices.Sort(s.took)
	return s, nil
}

// serve answers on an address and returns it.
func serve(network, address string, h http.Handler) (string, func(), error) {
	l, err := net.Listen(network, address) //nolint:noctx // it takes no time
	if err != nil {
		return "", nil, err
	}
	s := &http.Server{Handler: h, ReadHeaderTimeout: patience}
	go func() { _ = s.Serve(l) }()
	return l.Addr().String(), func() { _ = s.Close() }, nil
}

func millis(d time.Duration) float64 { return d.Seconds() * 1e3 }
