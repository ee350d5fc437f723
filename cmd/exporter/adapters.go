package main

import (
	"github.com/blueguy23/ghostrunner/internal/clock"
	"github.com/blueguy23/ghostrunner/internal/collector"
	"github.com/blueguy23/ghostrunner/internal/github"
)

// sourceGitHub is the clock source that clock.Monitor does not measure.
const sourceGitHub = "github"

// githubAdapter gives what the poller knows in the collectors' types.
type githubAdapter struct{ *github.Client }

func (a *githubAdapter) GitHub() collector.GitHubSnapshot {
	s := a.Snapshot()
	out := collector.GitHubSnapshot{Requests: s.Requests, Failures: s.Failures}
	for _, sc := range s.Scopes {
		out.Scopes = append(out.Scopes, collector.Scope{
			Name: sc.Scope, Polled: !sc.LastAttempt.IsZero(), Up: sc.Up, LastSuccess: sc.LastSuccess, Runners: sc.Runners,
		})
	}
	for _, l := range s.RateLimits {
		out.RateLimits = append(out.RateLimits, collector.RateLimit(l))
	}
	return out
}

func (a *githubAdapter) Credential() collector.Credential {
	return collector.Credential(a.Snapshot().Credential)
}

// clockAdapter adds the offset that GitHub's answers show.
type clockAdapter struct {
	*clock.Monitor

	github *github.Client // nil: not asked
}

func (a clockAdapter) ClockSamples() []collector.ClockSample {
	var out []collector.ClockSample
	for _, s := range a.Samples() {
		out = append(out, collector.ClockSample(s))
	}
	if a.github != nil {
		if c := a.github.Snapshot().Clock; !c.At.IsZero() {
			out = append(out, collector.ClockSample{Source: sourceGitHub, Offset: c.Offset, HasOffset: true, At: c.At})
		}
	}
	return out
}
