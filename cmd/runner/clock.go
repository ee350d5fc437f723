package main

import (
	"context"
	"time"

	"github.com/blueguy23/ghostrunner/internal/clock"
	"github.com/blueguy23/ghostrunner/internal/supervisor"
)

// clocks returns the offset of the local clock by the first source that knows the time: chronyd,
// SNTP, GitHub's Date header. They are asked before each registration. An answer is reused for some
// time, and so is the lack of one, so that a job does not wait for a source that is down.
type clocks struct {
	sources []*timeSource
	github  *registrar
}

type timeSource struct {
	name    string
	monitor *clock.Monitor // of this source only
	reuse   time.Duration  // of an answer

	asked  time.Time // wall time, so that it gets old during a sleep
	answer supervisor.Offset
	known  bool
}

const (
	clockTimeout = time.Second
	retryAfter   = 64 * time.Second // of a source that failed; NTP servers accept a request a minute
	maxSampleAge = 5 * time.Minute  // of GitHub's Date
)

func newClocks(cfg config, github *registrar) *clocks {
	c := &clocks{github: github}
	add := func(name string, reuse time.Duration, o clock.Options) {
		o.Timeout = clockTimeout
		c.sources = append(c.sources, &timeSource{name: name, monitor: clock.New(o), reuse: reuse})
	}
	add("chronyd", 4*time.Second, clock.Options{ChronyAddress: cfg.chrony})
	add("SNTP", retryAfter, clock.Options{NTPServers: cfg.ntpServers})
	return c
}

// offset implements supervisor.Config.Clock.
func (c *clocks) offset(ctx context.Context) (supervisor.Offset, bool) {
	for _, s := range c.sources {
		if o, known := s.offset(ctx); known {
			return o, true
		}
	}
	// An offset of GitHub is not reused, because the slot waits for the clock to be corrected.
	if o, known := c.githubOffset(); known && o.Ahead == 0 {
		return o, true
	}
	_, _ = c.github.Runners(ctx) // any answer has a Date; an error appears at the registration
	return c.githubOffset()
}

func (c *clocks) githubOffset() (supervisor.Offset, bool) {
	sample := c.github.client.Snapshot().Clock
	return supervisor.Offset{Ahead: sample.Offset, Source: "GitHub"}, !sample.At.IsZero() && time.Since(sample.At).Abs() <= maxSampleAge
}

func (s *timeSource) offset(ctx context.Context) (supervisor.Offset, bool) {
	reuse := retryAfter
	if s.known {
		reuse = s.reuse
	}
	if age := time.Since(s.asked); age >= 0 && age < reuse {
		return s.answer, s.known
	}
	answers := s.monitor.Once(ctx)
	if ctx.Err() != nil {
		return supervisor.Offset{}, false
	}
	s.asked, s.known = time.Now().Round(0), false
	for _, a := range answers {
		if a.Err == nil && a.Sample.HasOffset {
			s.answer, s.known = supervisor.Offset{Ahead: a.Sample.Offset, Source: s.name}, true
		}
	}
	return s.answer, s.known
}
