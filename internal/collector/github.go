package collector

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// GitHub's view comes from a poller that asks conditionally in the background; a scrape reads its
// last answer. A scope whose last answer is older than StaleAfter loses all that describes runners;
// that the polls fail, and since when, stays visible.

var (
	runnerOnline = prometheus.NewDesc("ghostrunner_runner_online",
		"Whether GitHub sees the slot's runner online.", []string{"runner"}, nil)
	runnerBusy = prometheus.NewDesc("ghostrunner_runner_busy",
		"Whether GitHub sees the slot's runner busy with a job.", []string{"runner"}, nil)
	runnerRegistered = prometheus.NewDesc("ghostrunner_runner_registered",
		"Whether GitHub has a registration of the slot.", []string{"runner"}, nil)
	runnerInfo = prometheus.NewDesc("ghostrunner_runner_info",
		"The slot's current registration: the one online, else the youngest. The version is from the runner's own log.", []string{"runner", "name", "scope", "os", "version", "labels"}, nil)
	githubRunners = prometheus.NewDesc("ghostrunner_github_runners",
		"All registrations of the scope, also those of other machines.", []string{"scope", "state"}, nil)
	githubUp = prometheus.NewDesc("ghostrunner_github_up",
		"Whether the last poll of the scope succeeded.", []string{"scope"}, nil)
	githubLastSuccess = prometheus.NewDesc("ghostrunner_github_last_success_timestamp_seconds",
		"When the scope was last read.", []string{"scope"}, nil)
	githubRequests = prometheus.NewDesc("ghostrunner_github_requests_total",
		"Answers of GitHub's API by HTTP status; 304 costs no quota.", []string{"code"}, nil)
	githubFailures = prometheus.NewDesc("ghostrunner_github_request_failures_total",
		"Requests to GitHub's API that did not give what was asked for.", []string{"reason"}, nil)
	githubRateLimit = prometheus.NewDesc("ghostrunner_github_rate_limit",
		"Requests per window that GitHub allows the token.", []string{"resource"}, nil)
	githubRateRemaining = prometheus.NewDesc("ghostrunner_github_rate_limit_remaining",
		"Requests left in the present window.", []string{"resource"}, nil)
	githubRateReset = prometheus.NewDesc("ghostrunner_github_rate_limit_reset_timestamp_seconds",
		"When the present window ends, by GitHub's clock.", []string{"resource"}, nil)
)

// GitHub returns the poller's latest snapshot without any I/O.
type GitHub interface{ Snapshot() runner.GitHub }

type githubSource struct {
	from   GitHub
	docker Docker
	logs   Logs

	mu    sync.Mutex
	known []runner.Container // when the engine was last up: GitHub's view does not end with Docker's
}

// NewGitHub returns the source "github". The slots come from the containers, the versions from the
// logs.
func NewGitHub(from GitHub, docker Docker, logs Logs) Source {
	return &githubSource{from: from, docker: docker, logs: logs}
}

func (*githubSource) Name() string { return NameGitHub }

func (s *githubSource) Collect(_ context.Context, ch chan<- prometheus.Metric) error {
	snapshot := s.from.Snapshot()
	for _, scope := range snapshot.Scopes {
		if !scope.LastAttempt.IsZero() {
			gauge(ch, githubUp, boolean(scope.Up), scope.Name)
		}
		timestamp(ch, githubLastSuccess, scope.LastSuccess, scope.Name)
	}
	for code, n := range snapshot.Requests {
		counter(ch, githubRequests, n, code)
	}
	for reason, n := range snapshot.Failures {
		counter(ch, githubFailures, n, reason)
	}
	for _, r := range snapshot.RateLimits {
		if !fresh(r.At) && !r.Reset.After(time.Now()) {
			continue // that window is over; of the present one nothing is known
		}
		gauge(ch, githubRateLimit, float64(r.Limit), r.Resource)
		gauge(ch, githubRateRemaining, float64(r.Remaining), r.Resource)
		timestamp(ch, githubRateReset, r.Reset, r.Resource)
	}
	return s.runners(ch, snapshot.Scopes)
}

// runners exports the scopes that are fresh enough. Its error is about slots that are left out.
func (s *githubSource) runners(ch chan<- prometheus.Metric, scopes []runner.Scope) error {
	if len(scopes) == 0 {
		return nil
	}
	slots := runner.NewSlots(s.lastKnown(), scopes[0].Name)
	versions := make(map[string]string)
	for _, slot := range s.logs.Slots() {
		versions[slot.Runner] = slot.State.Version
	}
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
			gauge(ch, githubRunners, float64(states[state]), scope.Name, state)
		}
		for _, slot := range slots.Names(scope.Name) {
			sendRunner(ch, slot, scope.Name, versions[slot], registered[slot])
		}
	}
	return slots.Conflicts()
}

// lastKnown returns the containers of the engine, or those that it had before it went down.
func (s *githubSource) lastKnown() []runner.Container {
	containers, up := s.docker.Observed()
	s.mu.Lock()
	defer s.mu.Unlock()
	if up {
		s.known = containers
	}
	return s.known
}

// sendRunner exports one slot. It has no registration between two jobs, and two while GitHub still
// lists the last one.
func sendRunner(ch chan<- prometheus.Metric, slot, scope, version string, rs []runner.Registration) {
	online := slices.ContainsFunc(rs, func(r runner.Registration) bool { return r.Online() })
	busy := slices.ContainsFunc(rs, func(r runner.Registration) bool { return r.Busy })
	gauge(ch, runnerRegistered, boolean(len(rs) > 0), slot)
	gauge(ch, runnerOnline, boolean(online), slot)
	gauge(ch, runnerBusy, boolean(busy), slot)
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
	gauge(ch, runnerInfo, 1, slot, current.Name, scope, current.OS, version, strings.Join(labels, ","))
}

// registrationState returns idle, busy or offline. A runner that is offline in the middle of a job
// is offline.
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
