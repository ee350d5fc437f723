package collector

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/shirou/gopsutil/v3/disk"

	"github.com/blueguy23/ghostrunner/internal/listener"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

var update = flag.Bool("update", false, "write testdata/*.prom; `make generate` does")

// Fakes. Each is the answer that it gives.

type fakeDocker struct {
	up         bool
	containers []runner.Container
}

func (f fakeDocker) Observed() ([]runner.Container, bool) {
	if !f.up {
		return nil, false
	}
	return f.containers, true
}

func docker(up bool, containers []runner.Container) fakeDocker { return fakeDocker{up, containers} }

type fakeGitHub runner.GitHub

func (f fakeGitHub) Snapshot() runner.GitHub { return runner.GitHub(f) }

type fakeLogs []listener.Slot

func (f fakeLogs) Slots() []listener.Slot { return f }

// threeJobs are the durations of three jobs.
func threeJobs() JobDurations {
	d := NewJobDurations()
	for _, took := range []time.Duration{10 * time.Second, 20 * time.Second, 45 * time.Second} {
		d.Observe(took)
	}
	return d
}

func token(c runner.Credential) fakeGitHub { return fakeGitHub{Credential: c} }

type fakeClock struct {
	samples []runner.ClockSample
	jumps   map[string]uint64
}

func (f fakeClock) Samples() []runner.ClockSample { return f.samples }
func (f fakeClock) Jumps() map[string]uint64      { return f.jumps }
func (f fakeClock) LastJumps() map[string]time.Duration {
	return map[string]time.Duration{"forward": 90 * time.Minute}
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// exposition is what a scrape of the sources would show, without the one line that differs each
// time.
func exposition(t *testing.T, sources ...Source) string {
	t.Helper()
	families, err := NewSet(quiet(), sources...).Gather()
	if err != nil {
		t.Errorf("gather: %v", err)
	}
	slices.SortFunc(families, func(a, b *dto.MetricFamily) int { return strings.Compare(a.GetName(), b.GetName()) })
	var b bytes.Buffer
	for i, f := range families {
		if i > 0 && families[i-1].GetName() == f.GetName() {
			t.Errorf("%s belongs to two sources", f.GetName())
		}
		if f.GetName() == "ghostrunner_scrape_collector_duration_seconds" {
			continue
		}
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			t.Fatal(err)
		}
	}
	problems, err := testutil.GatherAndLint(NewSet(quiet(), sources...))
	if err != nil {
		t.Error(err)
	}
	for _, p := range problems {
		t.Errorf("lint: %s: %s", p.Metric, p.Text)
	}
	return b.String()
}

// now is where synctest starts its clock.
var now = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return now.Add(-d) }

var runners = []runner.Container{
	{Name: "gr-ci-runner-1-1", Role: "runner", Runner: "ci-runner", State: "running", Health: "healthy", Starts: 1},
	{Name: "gr-ci-runner-1-2", Role: "runner", Runner: "ci-runner-1", State: "running", Health: "starting"},
	{Name: "gr-ci-runner-2-1", Role: "runner", Runner: "ci-runner-2", State: "exited", Health: "unhealthy", Exited: true, ExitCode: 137, OOMKills: 1},
	{Name: "gr-elsewhere-1", Role: "runner", Runner: "elsewhere", Scope: "other-org", State: "restarting"},
	{Name: "gr-mongo-1", Role: "service", State: "running", Health: "unhealthy", Starts: 2, Exited: true},
	{Name: "gr-plain-1", Role: "service", State: "paused"},
	{Name: "gr-\xff-1", Role: "service", State: "running"},
	{Role: "service", State: "removing"}, // on their way out containers have no name any more
	{Role: "service", State: "removing"},
}

func slot(name string, lines ...string) listener.Slot {
	var s listener.Session
	for _, l := range lines {
		s.Line(ago(time.Minute), []byte(l))
	}
	return listener.Slot{Runner: name, Known: len(lines) > 0, State: s.State(), Counts: s.Counts(), LastFailures: s.LastFailures()}
}

var logs = fakeLogs{
	slot("ci-runner", "Current runner version: '2.336.0'", "1999-12-31 23:59:00Z: Listening for Jobs",
		"1999-12-31 23:59:00Z: Running job: build", "1999-12-31 23:59:00Z: Job build completed with result: Succeeded",
		"1999-12-31 23:59:00Z: Running job: test"),
	slot("ci-runner-1", "Failed to create session. Runner version v2.300.0 is deprecated and cannot receive messages.",
		"1999-12-31 23:59:00Z: Runner connect error: Name or service not known. Retrying until reconnected."),
	slot("silent"), // its log cannot be read, or is empty: what it does is not known
}

func onePath(r *Reclaimable) Source {
	return NewDisk(func() []string { return []string{"/a"} }, func(context.Context, string) (*disk.UsageStat, error) { return &disk.UsageStat{Free: 1, Total: 2}, nil }, r)
}

// measured is what an hourly measurement gave at that time.
func measured(up bool, at time.Time) *Reclaimable {
	return &Reclaimable{
		Up: func() bool { return up }, Interval: time.Hour, at: at,
		bytes: map[string]uint64{"images": 3e9, "containers": 0, "build_cache": 12},
	}
}

func TestGolden(t *testing.T) {
	polled := runner.Scope{Name: "o/r", LastAttempt: time.Now(), Up: true, LastSuccess: ago(time.Minute), Runners: []runner.Registration{
		{ID: 7, Name: "ci-runner-1-abc", OS: "linux", Status: "offline", Labels: []string{"x64", "linux", "self-hosted"}},
		{ID: 5, Name: "ci-runner-1-xyz", OS: "linux", Status: "online", Busy: true, Labels: []string{"self-hosted"}},
		{ID: 9, Name: "ci-runner-9", OS: "linux", Status: "online"},
		{ID: 10, Name: "laptop", OS: "macOS", Status: "online", Busy: true},
		{ID: 11, Name: "elsewhere-1", OS: "linux", Status: "online"}, // the slot of that name is of another scope
		{ID: 12, Name: "ci-runner-12", OS: "linux"},
	}}
	limits := []runner.RateLimit{
		{Resource: "core", Limit: 5000, Remaining: 4990, Reset: now.Add(time.Hour), At: ago(time.Hour)}, // no request since
		{Resource: "over", Limit: 60, Remaining: 0, Reset: ago(time.Minute), At: ago(time.Hour)},
		{Resource: "search", Limit: 30, Remaining: 7, Reset: ago(time.Second), At: ago(time.Minute)},
	}
	requests := map[string]uint64{"200": 3, "304": 40}
	failures := map[string]uint64{"auth": 0, "network": 2}
	stale := polled
	stale.Up, stale.LastSuccess = false, ago(StaleAfter+time.Second)
	containers := docker(true, runners)

	for name, source := range map[string]Source{
		"container":      NewContainer(containers),
		"container_down": NewContainer(docker(false, runners)),
		"health":         NewHealth(containers),
		"health_down":    NewHealth(docker(false, runners)),
		"listener":       NewListener(logs, containers, threeJobs()),
		"listener_down":  NewListener(logs, docker(false, nil), threeJobs()),
		"github":         NewGitHub(fakeGitHub{Scopes: []runner.Scope{polled}, RateLimits: limits, Requests: requests, Failures: failures}, containers, logs),
		"github_stale":   NewGitHub(fakeGitHub{Scopes: []runner.Scope{stale}}, containers, logs),
		"github_unknown": NewGitHub(fakeGitHub{Scopes: []runner.Scope{{Name: "o/r"}}}, containers, logs),
		"github_scopes": NewGitHub(fakeGitHub{Scopes: []runner.Scope{polled, {
			Name: "Other-Org", LastAttempt: time.Now(), Up: true, LastSuccess: now,
			Runners: []runner.Registration{{ID: 1, Name: "elsewhere-2", Status: "online"}},
		}}}, containers, fakeLogs(nil)),
		"credential":          NewCredential(token(runner.Credential{Known: true, Valid: true, PermissionKnown: true, Expiry: now.Add(72 * time.Hour), LastCheck: now})),
		"credential_rejected": NewCredential(token(runner.Credential{Known: true, LastCheck: now})),
		"credential_unknown":  NewCredential(token(runner.Credential{})),
		"clock": NewClock(fakeClock{[]runner.ClockSample{
			{Source: "chrony", At: ago(5 * time.Second), SynchronizedKnown: true},
			{Source: "ntp", At: ago(time.Minute), HasOffset: true, Offset: -3 * time.Second},
			{Source: "github", At: ago(StaleAfter + time.Second), HasOffset: true, Offset: time.Hour},
			{Source: "never", HasOffset: true},
		}, map[string]uint64{"forward": 1, "backward": 0}}),
		"threshold":       NewThreshold(map[string]float64{"disk_prune_bytes": 5e9}),
		"threshold_unset": NewThreshold(nil),
		"disk": NewDisk(func() []string { return []string{"/a", "/gone"} }, func(_ context.Context, path string) (*disk.UsageStat, error) {
			if path == "/gone" {
				return nil, os.ErrNotExist
			}
			return &disk.UsageStat{Free: 12_000_000_000, Total: 1 << 40}, nil
		}, nil),
		"disk_unknown":     NewDisk(func() []string { return nil }, nil, nil),
		"reclaimable":      onePath(measured(true, ago(time.Hour))),
		"reclaimable_down": onePath(measured(false, ago(time.Minute))),
		"reclaimable_old":  onePath(measured(true, ago(time.Hour+StaleAfter+1))),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { golden(t, name, source) })
		})
	}
}

// golden compares what a source gives with a file.
func golden(t *testing.T, name string, source Source) {
	t.Helper()
	got := exposition(t, source)
	file := filepath.Join("testdata", name+".prom")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(strings.Split(string(want), "\n"), strings.Split(got, "\n")); diff != "" {
		t.Errorf("%s (-), now (+); if it is right: make generate\n%s", file, diff)
	}
}

type lookupFunc func(ctx context.Context, host string) ([]string, error)

func (f lookupFunc) LookupHost(ctx context.Context, host string) ([]string, error) {
	return f(ctx, host)
}

func TestGoldenDNS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var dead atomic.Bool
		d := NewDNS(lookupFunc(func(ctx context.Context, host string) ([]string, error) {
			switch {
			case host == "hangs.example":
				<-ctx.Done()
				return nil, ctx.Err()
			case dead.Load():
				return nil, errors.New("no such host")
			}
			time.Sleep(20 * time.Millisecond) // of the bubble's clock
			return []string{"192.0.2.1"}, nil
		}), []string{"api.example", "hangs.example"})
		if got := exposition(t, d); strings.Contains(got, "dns") && strings.Contains(got, "lookup") {
			t.Errorf("before the first lookup:\n%s", got)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- d.Run(ctx) }()
		time.Sleep(dnsTimeout + time.Second)
		synctest.Wait()
		golden(t, "dns", d)
		dead.Store(true)
		time.Sleep(dnsInterval)
		synctest.Wait()
		golden(t, "dns_dead", d)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		time.Sleep(StaleAfter + time.Second)
		if got := exposition(t, d); strings.Contains(got, "dns_lookup") {
			t.Errorf("after %s without a lookup:\n%s", StaleAfter, got)
		}
	})
}
