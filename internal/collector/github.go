package collector

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/blueguy23/ghostrunner/internal/listener"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// GitHub's view comes from a poller that asks conditionally in the background; a scrape reads its last answer. A scope
// whose last answer is older than StaleAfter loses everything that describes runners; that the polls fail, and since
// when the answers stopped, stays visible.

// StaleAfter is the age beyond which a measured value is no longer exported.
const StaleAfter = 5 * time.Minute

var (
	runnerOnline = newDesc("ghostrunner_runner_online",
		"Whether GitHub sees the slot's runner online.", "runner")
	runnerBusy = newDesc("ghostrunner_runner_busy",
		"Whether GitHub sees the slot's runner busy with a job.", "runner")
	runnerRegistered = newDesc("ghostrunner_runner_registered",
		"Whether GitHub has a registration of the slot.", "runner")
	runnerInfo = newDesc("ghostrunner_runner_info",
		"The slot's current registration: the one online, else the youngest. The version is from the runner's own log.",
		"runner", "name", "scope", "os", "version", "labels")
	githubRunners = newDesc("ghostrunner_github_runners",
		"All registrations of the scope, also those of other machines.", "scope", "state")
	githubUp = newDesc("ghostrunner_github_up",
		"Whether the last poll of the scope succeeded.", "scope")
	githubLastSuccess = newDesc("ghostrunner_github_last_success_timestamp_seconds",
		"When the scope was last read.", "scope")
	githubRequests = newDesc("ghostrunner_github_requests_total",
		"Answers of GitHub's API by HTTP status; 304 costs no quota.", "code")
	githubFailures = newDesc("ghostrunner_github_request_failures_total",
		"Requests to GitHub's API that did not give what was asked for.", "reason")
	githubRateLimit = newDesc("ghostrunner_github_rate_limit",
		"Requests per window that GitHub allows the token.", "resource")
	githubRateRemaining = newDesc("ghostrunner_github_rate_limit_remaining",
		"Requests left in the present window.", "resource")
	githubRateReset = newDesc("ghostrunner_github_rate_limit_reset_timestamp_seconds",
		"When the present window ends, by GitHub's clock.", "resource")
)

// GitHubSnapshot is what the poller knows.
type GitHubSnapshot struct {
	Scopes     []Scope // the first one is the default of slots that name none
	RateLimits []RateLimit
	Requests   map[string]uint64 // by status code
	Failures   map[string]uint64 // by reason
}

// Scope is the runners registered at one place.
type Scope struct {
	Name        string
	Polled      bool // at least one poll has ended
	Up          bool // the last one succeeded
	LastSuccess time.Time
	Runners     []runner.Registration
}

// RateLimit is one quota of the token.
type RateLimit struct {
	Resource         string
	Limit, Remaining int
	Reset            time.Time
	At               time.Time // when GitHub said so
}

// GitHub gives the poller's latest snapshot without any I/O.
type GitHub interface{ GitHub() GitHubSnapshot }

// Slots gives what the logs of the runner containers told last.
type Slots interface{ Slots() []listener.Slot }

type githubSource struct {
	from       GitHub
	containers Containers
	logs       Slots

	mu    sync.Mutex
	known []runner.Container // when the engine was last up: GitHub's view does not end with Docker's
}

// NewGitHub returns the source "github". The slots are those of the containers, the versions those of the logs.
func NewGitHub(from GitHub, containers Containers, logs Slots) Source {
	return &githubSource{from: from, containers: containers, logs: logs}
}

func (*githubSource) Name() string { return NameGitHub }

func (s *githubSource) Collect(_ context.Context, out *Samples) error {
	snapshot := s.from.GitHub()
	for _, scope := range snapshot.Scopes {
		if scope.Polled {
			gauge(out, githubUp, boolean(scope.Up), scope.Name)
		}
		timestamp(out, githubLastSuccess, scope.LastSuccess, scope.Name)
	}
	counters(out, githubRequests, snapshot.Requests)
	counters(out, githubFailures, snapshot.Failures)
	for _, r := range snapshot.RateLimits {
		if !fresh(r.At) && !r.Reset.After(time.Now()) {
			continue // that window is over, and nothing is known of the present one
		}
		gauge(out, githubRateLimit, float64(r.Limit), r.Resource)
		gauge(out, githubRateRemaining, float64(r.Remaining), r.Resource)
		timestamp(out, githubRateReset, r.Reset, r.Resource)
	}
	return s.runners(out, snapshot.Scopes)
}

// runners exports the scopes that are fresh enough. Its error is about slots that are left out.
func (s *githubSource) runners(out *Samples, scopes []Scope) error {
	if len(scopes) == 0 {
		return nil
	}
	slots := runner.NewSlots(s.lastKnown(), scopes[0].Name)
	versions := versionsOf(s.logs.Slots())
	for _, scope := range scopes {
		if !fresh(scope.LastSuccess) {
			continue
		}
		registered := make(map[string][]runner.Registration, len(scope.Runners))
		states := map[string]int{}
		for _, r := range scope.Runners {
			states[registrationState(r)]++
			if slot, ok := slots.Match(r.Name, scope.Name); ok {
				registered[slot] = append(registered[slot], r)
			}
		}
		for _, state := range []string{"busy", "idle", "offline"} {
			gauge(out, githubRunners, float64(states[state]), scope.Name, state)
		}
		for _, slot := range slots.Names(scope.Name) {
			sendRunner(out, slot, scope.Name, versions[slot], registered[slot])
		}
	}
	return slots.Conflicts()
}

// lastKnown returns the containers of the engine, or those that it had before it went down.
func (s *githubSource) lastKnown() []runner.Container {
	snapshot := s.containers.Containers()
	s.mu.Lock()
	defer s.mu.Unlock()
	if snapshot.Up {
		s.known = snapshot.Containers
	}
	return s.known
}

// sendRunner exports one slot. It has no registration between two jobs, and two while GitHub still lists the last one.
func sendRunner(out *Samples, slot, scope, version string, rs []runner.Registration) {
	online := slices.ContainsFunc(rs, func(r runner.Registration) bool { return r.Online() })
	busy := slices.ContainsFunc(rs, func(r runner.Registration) bool { return r.Busy })
	gauge(out, runnerRegistered, boolean(len(rs) > 0), slot)
	gauge(out, runnerOnline, boolean(online), slot)
	gauge(out, runnerBusy, boolean(busy), slot)
	if len(rs) == 0 {
		return
	}
	current := slices.MaxFunc(rs, func(a, b runner.Registration) int {
		switch {
		case a.Online() != b.Online() && a.Online(), a.Online() == b.Online() && a.ID > b.ID:
			return 1
		case a.Online() == b.Online() && a.ID == b.ID:
			return 0
		default:
			return -1
		}
	})
	labels := current.Labels
	if !slices.IsSorted(labels) {
		labels = slices.Sorted(slices.Values(labels))
	}
	gauge(out, runnerInfo, 1, slot, current.Name, scope, current.OS, version, strings.Join(labels, ","))
}

// state sorts a registration into exactly one of the three. One that is offline in the middle of a job is offline.
func registrationState(r runner.Registration) string {
	switch {
	case !r.Online():
		return "offline"
	case r.Busy:
		return "busy"
	default:
		return "idle"
	}
}

func versionsOf(logs []listener.Slot) map[string]string {
	versions := make(map[string]string, len(logs))
	for _, l := range logs {
		versions[l.Runner] = l.State.Version
	}
	return versions
}
