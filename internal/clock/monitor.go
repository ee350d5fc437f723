// Package clock measures the offset of the local clock and detects jumps of it.
//
// It asks two sources in the background: chronyd, by its command protocol, and NTP servers, by
// SNTP. A source that does not answer, or does not know the time, has no offset, never an offset of
// 0. All containers of a machine share the kernel's clock, so one Monitor serves all of them.
// Nothing here sets a clock.
package clock

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Values of ClockSample.Source.
const (
	SourceChrony = "chrony"
	SourceNTP    = "ntp"
)

// Defaults of Options.
const (
	DefaultChronyInterval = 5 * time.Second
	DefaultNTPInterval    = 60 * time.Second
	DefaultTimeout        = 2 * time.Second
)

// Options configure a Monitor.
type Options struct {
	// ChronyAddress is chronyd's command address, host:port or host (port 323). Empty: chronyd is
	// not asked.
	ChronyAddress string
	// NTPServers are asked by SNTP, each host:port or host (port 123), without repetitions; at most
	// 16 are used.
	NTPServers []string
	// ChronyInterval and NTPInterval are the times between two requests. Zero: the defaults. Public
	// NTP servers accept one request a minute.
	ChronyInterval, NTPInterval time.Duration
	// Timeout bounds one request including the name lookup. Zero: DefaultTimeout.
	Timeout time.Duration
	// Logger gets each change between answering and not answering. Nil: nothing is logged.
	Logger *slog.Logger
}

// Monitor keeps the last sample of each source. It is safe for concurrent use.
type Monitor struct {
	logger  *slog.Logger
	sources []source // by name
	read    func() (reading, bool)

	mu        sync.Mutex
	samples   map[string]runner.ClockSample
	jumps     map[string]uint64
	lastJumps map[string]time.Duration
}

type source struct {
	name     string
	interval time.Duration
	query    func(context.Context) (runner.ClockSample, error)
	hint     string        // what a person can do if it does not answer
	now      chan struct{} // capacity 1; a value means: ask now
}

// New returns a Monitor without measurements.
func New(opts Options) *Monitor {
	m := &Monitor{
		logger: cmp.Or(opts.Logger, slog.New(slog.DiscardHandler)), read: readClocks,
		samples: map[string]runner.ClockSample{}, jumps: map[string]uint64{}, lastJumps: map[string]time.Duration{},
	}
	for _, d := range directions {
		m.jumps[d] = 0
	}
	timeout := cmp.Or(max(opts.Timeout, 0), DefaultTimeout)
	if opts.ChronyAddress != "" {
		m.sources = append(m.sources, source{
			name: SourceChrony, interval: cmp.Or(max(opts.ChronyInterval, 0), DefaultChronyInterval), now: make(chan struct{}, 1),
			query: func(ctx context.Context) (runner.ClockSample, error) {
				return queryChrony(ctx, opts.ChronyAddress, timeout)
			},
			hint: "does chronyd run and accept commands at this address (cmdport, bindcmdaddress, cmdallow)? If there is none, switch this source off",
		})
	}
	if sntp := newSNTP(opts.NTPServers, timeout); len(sntp.servers) > 0 {
		m.sources = append(m.sources, source{
			name: SourceNTP, interval: cmp.Or(max(opts.NTPInterval, 0), DefaultNTPInterval), now: make(chan struct{}, 1),
			query: sntp.query,
			hint:  "UDP port 123 is often blocked by firewalls and VPNs; name a server of your own network, or switch this source off",
		})
	}
	return m
}

// Run measures until ctx ends, and then returns nil. It measures at once, and after every jump of
// the clock.
func (m *Monitor) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	wg.Go(func() { m.watchJumps(ctx) })
	for _, s := range m.sources {
		wg.Go(func() { m.poll(ctx, s) })
	}
	wg.Wait()
	return nil
}

// Answer is one source's answer to one request.
type Answer struct {
	Source string
	Sample runner.ClockSample // only if Err is nil
	Err    error
	Hint   string // what a person can do about Err
}

// Once asks every source once, all at the same time, and returns the answers by source. It keeps
// nothing, takes at most Options.Timeout, and must not be called during Run.
func (m *Monitor) Once(ctx context.Context) []Answer {
	out := make([]Answer, len(m.sources))
	var wg sync.WaitGroup
	for i, s := range m.sources {
		wg.Go(func() {
			out[i].Source = s.name
			if out[i].Sample, out[i].Err = s.query(ctx); out[i].Err != nil {
				out[i].Hint = s.hint
			}
		})
	}
	wg.Wait()
	return out
}

// poll asks one source each interval, and at once if that is signaled.
func (m *Monitor) poll(ctx context.Context, s source) {
	ticker := time.NewTicker(s.interval)
	defer ticker.Stop()
	silent := false
	for {
		sample, err := s.query(ctx)
		if ctx.Err() != nil {
			return
		}
		m.mu.Lock()
		delete(m.samples, s.name) // after a failure: no measurement, no value
		if err == nil {
			m.samples[s.name] = sample
		}
		m.mu.Unlock()
		switch {
		case err != nil && !silent:
			m.logger.Warn("Clock source does not answer", "clock", s.name, "err", err, "hint", s.hint)
		case err == nil && silent:
			m.logger.Info("Clock source answers again", "clock", s.name)
		}
		silent = err != nil
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-s.now:
		}
	}
}

// Samples returns the last sample of each source that answers, by source. It does no I/O.
func (m *Monitor) Samples() []runner.ClockSample {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.samples), func(a, b runner.ClockSample) int { return cmp.Compare(a.Source, b.Source) })
}

// Jumps returns how often the clock jumped since New, by direction; every direction is present.
func (m *Monitor) Jumps() map[string]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.jumps)
}

// LastJumps returns the size of the last jump of each direction, never negative. A direction
// without a jump is absent.
func (m *Monitor) LastJumps() map[string]time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.lastJumps)
}
