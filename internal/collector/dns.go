package collector

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Names are looked up in the background, with the resolver of this process; a scrape reads the last
// results. A lookup that fails is a result, not an error of the source. The resolver of a runner's
// container can differ (Docker copies resolv.conf when the container starts), so this is about the
// machine, not about each runner.

const (
	dnsInterval = 15 * time.Second
	dnsTimeout  = 5 * time.Second
)

var (
	dnsSuccess = prometheus.NewDesc("ghostrunner_dns_lookup_success",
		"Whether the last lookup of the name gave an address.", []string{"name"}, nil)
	dnsDuration = prometheus.NewDesc("ghostrunner_dns_lookup_duration_seconds",
		"How long the last lookup took, successful or not.", []string{"name"}, nil)
)

// Resolver looks a name up; *net.Resolver does.
type Resolver interface {
	LookupHost(ctx context.Context, host string) (addrs []string, err error)
}

// DNS is the source "dns". It knows nothing before Run is called.
type DNS struct {
	resolver Resolver
	names    []string

	mu      sync.Mutex
	results map[string]lookup
}

type lookup struct {
	at   time.Time
	took time.Duration
	err  error
}

// NewDNS returns a source for the given names.
func NewDNS(resolver Resolver, names []string) *DNS {
	return &DNS{resolver: resolver, names: names, results: make(map[string]lookup, len(names))}
}

// Run looks every name up at once and then every fifteen seconds, until ctx ends; then it returns
// nil.
func (d *DNS) Run(ctx context.Context) error {
	tick := time.NewTicker(dnsInterval)
	defer tick.Stop()
	for {
		_ = d.Lookup(ctx) // a failure is kept as a result
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// Lookup looks every name up once, in parallel. The error is that of the first name that failed.
func (d *DNS) Lookup(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, name := range d.names {
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
			defer cancel()
			begin := time.Now()
			_, err := d.resolver.LookupHost(ctx, name)
			result := lookup{at: time.Now(), took: time.Since(begin), err: err}
			if errors.Is(ctx.Err(), context.Canceled) {
				return // we are stopping: says nothing about the name
			}
			d.mu.Lock()
			defer d.mu.Unlock()
			d.results[name] = result
		})
	}
	wg.Wait()
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range d.names {
		if err := d.results[name].err; err != nil {
			return fmt.Errorf("look up %s: %w", name, err)
		}
	}
	return nil
}

// Name implements Source.
func (*DNS) Name() string { return NameDNS }

// Collect implements Source.
func (d *DNS) Collect(_ context.Context, ch chan<- prometheus.Metric) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, name := range d.names {
		if l := d.results[name]; fresh(l.at) {
			gauge(ch, dnsSuccess, boolean(l.err == nil), name)
			gauge(ch, dnsDuration, l.took.Seconds(), name)
		}
	}
	return nil
}
