// Package clock measures how far the local clock is off and notices when it
// jumps.
//
// Two sources are asked in the background: chronyd, over its command protocol,
// and NTP servers, by SNTP. A source that does not answer, or answers without
// knowing the time, has no offset: never an offset of 0. All containers of a
// machine share the kernel's clock, so one Monitor serves all of them. It only
// reads; nothing here ever sets a clock.
package clock

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"
)

// The values of Sample.Source.
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

// Sample is the last answer of one source.
type Sample struct {
	Source string
	Offset time.Duration // > 0: the local clock is ahead; only with HasOffset
	At     time.Time     // when it was measured; wall clock only, so that a sleep makes it old

	HasOffset         bool
	Synchronized      bool // the source follows a reference outside of itself
	SynchronizedKnown bool // the source says whether it does
}

// Options configure a Monitor.
type Options struct {
	// ChronyAddress is chronyd's command address, host:port or host (port 323).
	// Empty: chronyd is not asked.
	ChronyAddress string
	// NTPServers are asked by SNTP, each host:port or host (port 123). At most
	// 16 are used. Empty: none is asked.
	NTPServers []string
	// ChronyInterval and NTPInterval are the times between two questions. Zero:
	// the defaults. Public NTP servers want no more than one question a minute.
	ChronyInterval, NTPInterval time.Duration
	// Timeout bounds one question including the name lookup. Zero: DefaultTimeout.
	Timeout time.Duration
	// Logger gets each change between answering and not answering once. Nil:
	// nothing is logged.
	Logger *slog.Logger
}

// Monitor keeps the last sample of each source. It is safe for concurrent use.
type Monitor struct {
	opts Options
	sntp *sntp
	read func() (reading, bool) // the kernel's clocks

	mu        sync.Mutex
	samples   map[string]Sample
	jumps     map[string]uint64
	lastJumps map[string]time.Duration
}

// New returns a Monitor that has measured nothing yet.
func New(opts Options) *Monitor {
	opts.ChronyInterval = cmp.Or(max(opts.ChronyInterval, 0), DefaultChronyInterval)
	opts.NTPInterval = cmp.Or(max(opts.NTPInterval, 0), DefaultNTPInterval)
	opts.Timeout = cmp.Or(max(opts.Timeout, 0), DefaultTimeout)
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Monitor{
		opts: opts, sntp: newSNTP(opts.NTPServers, opts.Timeout), read: readClocks,
		samples: map[string]Sample{}, jumps: map[string]uint64{}, lastJumps: map[string]time.Duration{},
	}
	for _, d := range directions {
		m.jumps[d] = 0
	}
	return m
}

// Run measures until ctx ends and returns nil then. The first round begins at
// once, and another one after every jump of the clock.
func (m *Monitor) Run(ctx context.Context) error {
	var chronyNow, ntpNow = make(chan struct{}, 1), make(chan struct{}, 1)
	var wg sync.WaitGroup
	wg.Go(func() { m.watchJumps(ctx, chronyNow, ntpNow) })
	if m.opts.ChronyAddress != "" {
		wg.Go(func() { m.poll(ctx, SourceChrony, m.opts.ChronyInterval, chronyNow, m.askChrony) })
	}
	if len(m.sntp.servers) > 0 {
		wg.Go(func() { m.poll(ctx, SourceNTP, m.opts.NTPInterval, ntpNow, m.sntp.query) })
	}
	wg.Wait()
	return nil
}

// Answer is what one source said to one question.
type Answer struct {
	Source string
	Sample Sample // only without Err
	Err    error
	Hint   string // what the operator can do about Err
}

// Once asks every source that is switched on once, all at the same time, and
// returns the answers by source. It keeps nothing, and must not be called while
// Run runs. It takes no longer than Options.Timeout.
func (m *Monitor) Once(ctx context.Context) []Answer {
	var out []Answer
	ask := map[string]func(context.Context) (Sample, error){}
	if m.opts.ChronyAddress != "" {
		ask[SourceChrony] = m.askChrony
	}
	if len(m.sntp.servers) > 0 {
		ask[SourceNTP] = m.sntp.query
	}
	for _, source := range slices.Sorted(maps.Keys(ask)) {
		out = append(out, Answer{Source: source})
	}
	var wg sync.WaitGroup
	for i := range out {
		wg.Go(func() {
			a := &out[i]
			if a.Sample, a.Err = ask[a.Source](ctx); a.Err != nil {
				a.Hint = hints[a.Source]
			}
		})
	}
	wg.Wait()
	return out
}

func (m *Monitor) askChrony(ctx context.Context) (Sample, error) {
	return queryChrony(ctx, m.opts.ChronyAddress, m.opts.Timeout)
}

// poll asks one source every interval and at once when now is signalled.
func (m *Monitor) poll(ctx context.Context, source string, interval time.Duration, now <-chan struct{}, query func(context.Context) (Sample, error)) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	silent := false
	for {
		s, err := query(ctx)
		if ctx.Err() != nil {
			return
		}
		m.store(source, s, err)
		switch {
		case err != nil && !silent:
			m.opts.Logger.Warn("clock source does not answer", "clock", source, "err", err, "hint", hints[source])
		case err == nil && silent:
			m.opts.Logger.Info("clock source answers again", "clock", source)
		}
		silent = err != nil
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		case <-now:
		}
	}
}

// hints say what the operator can do about a silent source.
var hints = map[string]string{
	SourceChrony: "check that chronyd runs and answers commands at this address (cmdport, bindcmdaddress, cmdallow), or switch the source off",
	SourceNTP:    "UDP port 123 is often blocked by firewalls and VPNs; name a server of your own network, or switch the source off",
}

// store keeps a good sample and drops the old one after a failure: what cannot
// be measured now has no value now.
func (m *Monitor) store(source string, s Sample, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		delete(m.samples, source)
		return
	}
	m.samples[source] = s
}

// Samples returns the last sample of each source that answers, by source. It
// does no I/O.
func (m *Monitor) Samples() []Sample {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.SortedFunc(maps.Values(m.samples), func(a, b Sample) int { return cmp.Compare(a.Source, b.Source) })
}

// Jumps returns how often the clock jumped since New, by direction; every
// direction is present.
func (m *Monitor) Jumps() map[string]uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.jumps)
}

// LastJumps returns the size of the last jump of each direction, never negative;
// a direction without a jump is absent.
func (m *Monitor) LastJumps() map[string]time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.lastJumps)
}
