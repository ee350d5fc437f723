package main

import (
	"slices"
	"sync"
	"sync/atomic"

	"github.com/blueguy23/ghostrunner/internal/clock"
	"github.com/blueguy23/ghostrunner/internal/collector"
	"github.com/blueguy23/ghostrunner/internal/engine"
	"github.com/blueguy23/ghostrunner/internal/github"
)

// The adapters say in the collectors' words what the packages that talk to the outside world know. They only copy, and a
// list that they copied already they do not copy again.

// sourceGitHub is the clock source that is not the monitor's.
const sourceGitHub = "github"

// copied is the last copy of a list. The lists of a snapshot are never changed, so the same list has the same content.
type copied[F, T any] struct{ last atomic.Pointer[pair[F, T]] }

type pair[F, T any] struct {
	from []F
	to   []T
}

func (c *copied[F, T]) of(from []F, convert func(*F) T) []T {
	if len(from) == 0 {
		return nil
	}
	if last := c.last.Load(); last != nil && len(last.from) == len(from) && &last.from[0] == &from[0] {
		return last.to
	}
	to := make([]T, len(from))
	for i := range from {
		to[i] = convert(&from[i])
	}
	c.last.Store(&pair[F, T]{from, to})
	return to
}

type dockerAdapter struct {
	*engine.Engine

	list copied[engine.Container, collector.Container]
}

func (a *dockerAdapter) Containers() collector.ContainerSnapshot {
	s := a.Snapshot()
	return collector.ContainerSnapshot{Up: s.Up, Containers: a.list.of(s.Containers, func(c *engine.Container) collector.Container {
		return collector.Container{
			Name: c.Name, Role: c.Role, Runner: c.Runner, Scope: c.Scope, State: c.State, Health: c.Health,
			Exited: c.Exited, ExitCode: c.ExitCode, Starts: c.Starts, OOMKills: c.OOMKills,
		}
	})}
}

type githubAdapter struct {
	*github.Client

	mu    sync.Mutex
	lists map[string]*copied[github.Runner, collector.Registration] // by scope
}

// listsOf makes a place for the list of each scope, and drops those of scopes that are no longer polled.
func (a *githubAdapter) listsOf(scopes []github.ScopeSnapshot) map[string]*copied[github.Runner, collector.Registration] {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.lists) == len(scopes) && !slices.ContainsFunc(scopes, func(s github.ScopeSnapshot) bool { return a.lists[s.Scope] == nil }) {
		return a.lists
	}
	lists := make(map[string]*copied[github.Runner, collector.Registration], len(scopes))
	for _, s := range scopes {
		if lists[s.Scope] = a.lists[s.Scope]; lists[s.Scope] == nil {
			lists[s.Scope] = &copied[github.Runner, collector.Registration]{}
		}
	}
	a.lists = lists
	return lists
}

func (a *githubAdapter) GitHub() collector.GitHubSnapshot {
	s := a.Snapshot()
	out := collector.GitHubSnapshot{Requests: s.Requests, Failures: s.Failures}
	lists := a.listsOf(s.Scopes)
	for _, sc := range s.Scopes {
		out.Scopes = append(out.Scopes, collector.Scope{
			Name: sc.Scope, Polled: !sc.LastAttempt.IsZero(), Up: sc.Up, LastSuccess: sc.LastSuccess,
			Runners: lists[sc.Scope].of(sc.Runners, func(r *github.Runner) collector.Registration {
				return collector.Registration{
					ID: r.ID, Name: r.Name, OS: r.OS, Online: r.Status == "online", Busy: r.Busy, Labels: r.Labels,
				}
			}),
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
