package runner

import "time"

// GitHub is everything that GitHub's answers said until one instant. It is never changed; its maps
// and slices are shared and must only be read.
//
// Nothing is dropped for its age: the reader decides by LastSuccess and At. All times have only
// wall-clock readings, because a monotonic reading stands still while the machine sleeps, and facts
// of hours ago would look new after it.
type GitHub struct {
	Scopes     []Scope // the configured ones in their order, the first is the default; then others by name
	Credential Credential
	RateLimits []RateLimit       // by resource
	Requests   map[string]uint64 // answers by HTTP status code, "304" included
	Failures   map[string]uint64 // failed requests by Error.Reason; every reason is present
	Clock      ClockSample
}

// Scope is the runners that are registered at one place.
type Scope struct {
	Name        string
	Up          bool           // the last poll succeeded
	LastAttempt time.Time      // zero: never polled, and Up has no meaning
	LastSuccess time.Time      // of Runners; zero: never
	LastError   error          // why Up is false, an *Error
	Runners     []Registration // by name; kept through failures
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

// ClockSample is the last answer of one source of time.
type ClockSample struct {
	Source string        // "chrony", "ntp" or "github"
	Offset time.Duration // > 0: the local clock is ahead; valid only with HasOffset
	At     time.Time     // of the measurement, wall clock only; zero: never measured

	HasOffset         bool
	Synchronized      bool // the source follows an external reference
	SynchronizedKnown bool // the source says whether it does
}
