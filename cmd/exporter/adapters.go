package main

import (
	"github.com/blueguy23/ghostrunner/internal/clock"
	"github.com/blueguy23/ghostrunner/internal/github"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// clocks adds the offset that GitHub's answers show.
type clocks struct {
	*clock.Monitor

	github *github.Client // nil: not asked
}

func (c clocks) Samples() []runner.ClockSample {
	samples := c.Monitor.Samples()
	if c.github != nil {
		if s := c.github.Snapshot().Clock; !s.At.IsZero() {
			samples = append(samples, s)
		}
	}
	return samples
}
