package main

import (
	"github.com/blueguy23/ghostrunner/internal/clock"
	"github.com/blueguy23/ghostrunner/internal/collector"
	"github.com/blueguy23/ghostrunner/internal/docker"
	"github.com/blueguy23/ghostrunner/internal/github"
)

// sourceGitHub is the clock source that is not the monitor's.
const sourceGitHub = "github"

type dockerAdapter struct{ *docker.Engine }

func (a *dockerAdapter) Containers() collector.ContainerSnapshot {
	s := a.Snapshot()
	return collector.ContainerSnapshot{Up: s.Up, Containers: s.Containers}
}

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
	c := a.Snapshot().Credential
	return collector.Credential{
		Known: c.Known, Valid: c.Valid, PermissionKnown: c.PermissionKnown, PermissionSufficient: c.PermissionSufficient,
		Expiry: c.Expiry, LastCheck: c.LastCheck,
	}
}

// clockAdapter joins the monitor with the clock that GitHub's answers show.
type clockAdapter struct {
	*clock.Monitor

	github *github.Client // nil: not asked
}

func (a clockAdapter) ClockSamples() []collector.ClockSample {
	var out []collector.ClockSample
	for _, s := range a.Samples() {
		out = append(out, collector.ClockSample{
			Source: s.Source, Offset: s.Offset, HasOffset: s.HasOffset, At: s.At,
			Synchronized: s.Synchronized, SynchronizedKnown: s.SynchronizedKnown,
		})
	}
	if a.github != nil {
		if c := a.github.Snapshot().Clock; !c.At.IsZero() {
			out = append(out, collector.ClockSample{Source: sourceGitHub, Offset: c.Offset, HasOffset: true, At: c.At})
		}
	}
	return out
}
