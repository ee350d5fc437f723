package github

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Snapshot is everything known at one instant. It is never changed; its maps and slices are shared
// and must only be read.
//
// Nothing is dropped for its age: the reader decides by LastSuccess and ClockSample.At. All times
// have only wall-clock readings, because a monotonic reading stands still while the machine sleeps,
// and facts of hours ago would look new after it.
type Snapshot struct {
	Scopes     []ScopeSnapshot // in the order of Options.Scopes, then MoreScopes by name
	Credential Credential
	RateLimits []RateLimit       // by resource
	Requests   map[string]uint64 // answers by HTTP status code, "304" included
	Failures   map[string]uint64 // failed requests by runner.Error.Reason; every reason is present
	Clock      ClockSample
}

// ScopeSnapshot is one scope in a Snapshot.
type ScopeSnapshot struct {
	Scope       string
	Up          bool                  // the last poll succeeded
	LastAttempt time.Time             // zero: never polled, and Up has no meaning
	LastSuccess time.Time             // of Runners; zero: never
	LastError   error                 // why Up is false, a *runner.Error
	Runners     []runner.Registration // by name; kept through failures
}

// Credential is what GitHub's answers say about the token. Only answers change it: a dead network
// does not make a token invalid.
type Credential struct {
	Known bool // GitHub has accepted or rejected the token
	Valid bool

	PermissionKnown      bool
	PermissionSufficient bool // for the runners of every polled scope

	Expiry    time.Time // zero: GitHub reported none
	LastCheck time.Time // last answer that said anything about the token
}

// RateLimit is one quota of the token's user, by the last answer.
type RateLimit struct {
	Resource  string // "core" for runner calls
	Limit     int
	Remaining int
	Reset     time.Time // by GitHub's clock
	At        time.Time // of the answer
}

// publish replaces the snapshot. c.mu is held.
func (c *Client) publish() {
	s := &Snapshot{
		Scopes:     make([]ScopeSnapshot, 0, len(c.scopes)),
		Credential: c.credential,
		Requests:   maps.Clone(c.requests),
		Failures:   maps.Clone(c.failures),
		Clock:      c.clock.sample(),
	}
	for _, st := range c.scopes {
		s.Scopes = append(s.Scopes, st.ScopeSnapshot)
	}
	for _, r := range c.limits {
		s.RateLimits = append(s.RateLimits, r)
	}
	slices.SortFunc(s.RateLimits, func(a, b RateLimit) int { return strings.Compare(a.Resource, b.Resource) })
	c.snapshot.Store(s)
}

// Snapshot returns the last snapshot. It does no I/O and never blocks.
func (c *Client) Snapshot() Snapshot { return *c.snapshot.Load() }

func wallNow() time.Time { return time.Now().Round(0) }
