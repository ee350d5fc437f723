package github

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// publish replaces the snapshot. c.mu is held.
func (c *Client) publish() {
	s := &runner.GitHub{
		Scopes:     make([]runner.Scope, 0, len(c.scopes)),
		Credential: c.credential,
		Requests:   maps.Clone(c.requests),
		Failures:   maps.Clone(c.failures),
		Clock:      c.clock.sample(),
	}
	for _, st := range c.scopes {
		s.Scopes = append(s.Scopes, st.Scope)
	}
	for _, r := range c.limits {
		s.RateLimits = append(s.RateLimits, r)
	}
	slices.SortFunc(s.RateLimits, func(a, b runner.RateLimit) int { return strings.Compare(a.Resource, b.Resource) })
	c.snapshot.Store(s)
}

// Snapshot returns the last snapshot. It does no I/O and never blocks.
func (c *Client) Snapshot() runner.GitHub { return *c.snapshot.Load() }

func wallNow() time.Time { return time.Now().Round(0) }
