package main

import (
	"context"
	"sync"
	"time"

	"github.com/blueguy23/ghostrunner/internal/clock"
	"github.com/blueguy23/ghostrunner/internal/supervisor"
)

// clocks answer how far the local clock is off: chronyd, else SNTP, else GitHub's Date header. The first that knows the time is
// believed.
//
// They are asked when a registration is to be made. An answer is good for a while, and so is none: neither a public server nor a
// name that cannot be resolved is bothered, or waited for, at each job.
type clocks struct {
	sources []*timeSource
	github  *registrar
}

// timeSource is chronyd, or a set of NTP servers.
type timeSource struct {
	by        string
	monitor   *clock.Monitor // of this source alone
	good, bad time.Duration  // for how long an answer is used, and for how long nobody is asked after none

	mu     sync.Mutex
	asked  time.Time // wall time, so that a sleep makes it old
	answer supervisor.Offset
	known  bool
}

const (
	clockTimeout = time.Second
	maxSampleAge = 5 * time.Minute // of GitHub's word
)

func newClocks(cfg config, github *registrar) *clocks {
	c := &clocks{github: github}
	if cfg.chrony != "" {
		m := clock.New(clock.Options{ChronyAddress: cfg.chrony, Timeout: clockTimeout})
		c.sources = append(c.sources, &timeSource{by: "chronyd", monitor: m, good: 4 * time.Second, bad: 64 * time.Second})
	}
	if len(cfg.ntpServers) > 0 {
		m := clock.New(clock.Options{NTPServers: cfg.ntpServers, Timeout: clockTimeout})
		c.sources = append(c.sources, &timeSource{by: "SNTP", monitor: m, good: 64 * time.Second, bad: 64 * time.Second})
	}
	return c
}

// offset implements supervisor.Config.Clock.
func (c *clocks) offset(ctx context.Context) (supervisor.Offset, bool) {
	for _, s := range c.sources {
		if o, known := s.ask(ctx); known {
			return o, true
		}
	}
	return c.githubOffset(ctx)
}

// githubOffset asks GitHub for something harmless if it has not said the time lately: whatever it answers carries it.
func (c *clocks) githubOffset(ctx context.Context) (supervisor.Offset, bool) {
	fresh := func() (supervisor.Offset, bool) {
		sample := c.github.client.Snapshot().Clock
		return supervisor.Offset{Ahead: sample.Offset, By: "GitHub"}, !sample.At.IsZero() && time.Since(sample.At).Abs() <= maxSampleAge
	}
	// A clock that was off is looked at anew each time: whoever waits for it wants to see it right.
	if o, known := fresh(); known && o.Ahead == 0 {
		return o, true
	}
	_, _ = c.github.Runners(ctx) // a failure is told by the registration that follows
	return fresh()
}

func (s *timeSource) ask(ctx context.Context) (supervisor.Offset, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keep := s.bad
	if s.known {
		keep = s.good
	}
	if age := time.Since(s.asked); !s.asked.IsZero() && age >= 0 && age < keep {
		return s.answer, s.known
	}
	answers := s.monitor.Once(ctx)
	if ctx.Err() != nil {
		return supervisor.Offset{}, false
	}
	s.asked, s.known = time.Now().Round(0), false
	for _, a := range answers {
		if a.Err == nil && a.Sample.HasOffset {
			s.answer, s.known = supervisor.Offset{Ahead: a.Sample.Offset, By: s.by}, true
		}
	}
	return s.answer, s.known
}
