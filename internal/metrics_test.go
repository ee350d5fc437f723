package internal

import (
	"context"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	versioncollector "github.com/prometheus/client_golang/prometheus/collectors/version"
	dto "github.com/prometheus/client_model/go"
	"github.com/shirou/gopsutil/v3/disk"

	"github.com/blueguy23/ghostrunner/internal/collector"
	"github.com/blueguy23/ghostrunner/internal/listener"
	"github.com/blueguy23/ghostrunner/internal/remedy"
	"github.com/blueguy23/ghostrunner/internal/remedy/httpapi"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// The table in docs/metrics.md is what the two programs export in a world in which everything can
// be measured. It is gathered, because a description does not hold the type of a metric.

const (
	metricsPage   = "../docs/metrics.md"
	tableBegin    = "<!-- metrics: begin -->\n"
	tableEnd      = "<!-- metrics: end -->"
	slot          = "ci-runner-1"
	slotContainer = "gr-ci-runner-1"
)

var update = flag.Bool("update", false, "write the table in docs/metrics.md; `make generate` does")

func TestGeneratedMetricTable(t *testing.T) {
	var exporter, remediator []*dto.MetricFamily
	synctest.Test(t, func(t *testing.T) {
		exporter, remediator = exporterMetrics(t), remediatorMetrics(t)
	})
	everyMetricIsGathered(t, slices.Concat(exporter, remediator))

	text, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, begun := strings.Cut(string(text), tableBegin)
	got, after, ended := strings.Cut(rest, tableEnd)
	if !begun || !ended {
		t.Fatalf("%s: no lines %q and %q", metricsPage, strings.TrimSpace(tableBegin), tableEnd)
	}
	want := table("Exporter", exporter) + table("Remediator", remediator) + "\n"
	if *update && got != want {
		if err := os.WriteFile(metricsPage, []byte(before+tableBegin+want+tableEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		got = want
	}
	if diff := cmp.Diff(strings.Split(got, "\n"), strings.Split(want, "\n")); diff != "" {
		t.Errorf("the table in %s (-) differs from what the programs export (+); run `make generate`\n%s", metricsPage, diff)
	}
}

// table returns what a program exports, one row for each metric.
func table(program string, families []*dto.MetricFamily) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## %s\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n", program)
	slices.SortFunc(families, func(x, y *dto.MetricFamily) int { return strings.Compare(x.GetName(), y.GetName()) })
	for _, f := range families {
		labels := map[string]bool{}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = true
			}
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.GetName(), strings.ToLower(f.GetType().String()),
			strings.Join(slices.Sorted(maps.Keys(labels)), ", "), strings.ReplaceAll(f.GetHelp(), "|", `\|`))
	}
	return b.String()
}

// everyMetricIsGathered fails if a metric that the source names was not gathered.
func everyMetricIsGathered(t *testing.T, families []*dto.MetricFamily) {
	t.Helper()
	gathered := map[string]bool{}
	for _, f := range families {
		gathered[f.GetName()] = true
	}
	names := namesInSource(t, "collector", "remedy", "../cmd/exporter", "../cmd/remediator")
	if len(names) == 0 {
		t.Fatal("no name of a metric found in the source")
	}
	for name, where := range names {
		if !gathered[name] && !gathered[name+"_build_info"] { // of a program
			t.Errorf("%s: %s is missing in the table: extend the fakes of this test until it is exported", where, name)
		}
	}
}

// namesInSource returns every string outside of tests that is the whole name of a metric or of a
// program.
func namesInSource(t *testing.T, dirs ...string) map[string]token.Position {
	t.Helper()
	name := regexp.MustCompile(`^ghostrunner_[a-z_]+$`)
	found := map[string]token.Position{}
	files := token.NewFileSet()
	for _, dir := range dirs {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			file, err := parser.ParseFile(files, path, nil, parser.SkipObjectResolution)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					if s, err := strconv.Unquote(lit.Value); err == nil && name.MatchString(s) {
						found[s] = files.Position(lit.Pos())
					}
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}

// exporterMetrics scrapes the exporter's collectors over the fakes below, joined as in
// cmd/exporter.
func exporterMetrics(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	w := exporterWorld{}
	dns := collector.NewDNS(w, []string{"api.github.com"})
	if err := dns.Lookup(t.Context()); err != nil {
		t.Fatal(err)
	}
	reclaimable := &collector.Reclaimable{
		Measure: func(context.Context) (map[string]uint64, error) { return map[string]uint64{"images": 1}, nil },
		Up:      func() bool { return true }, Logger: quiet,
	}
	background(t, reclaimable.Run)
	statfs := func(context.Context, string) (*disk.UsageStat, error) { return &disk.UsageStat{Free: 1, Total: 2}, nil }
	set := collector.NewSet(quiet,
		collector.NewClock(w),
		collector.NewContainer(w),
		collector.NewCredential(w),
		collector.NewDisk(func() []string { return []string{"/"} }, statfs, reclaimable),
		dns,
		collector.NewGitHub(w, w, w),
		collector.NewHealth(w),
		collector.NewListener(w, w, collector.NewJobDurations()),
		collector.NewThreshold(map[string]float64{"disk_prune_bytes": 1}),
	)
	synctest.Wait() // what is reclaimable is measured
	registry := prometheus.NewRegistry()
	registry.MustRegister(versioncollector.NewCollector("ghostrunner_exporter"))
	return gather(t, prometheus.Gatherers{set, registry})
}

// exporterWorld stands for every adapter of the exporter. It has one runner with a job and a
// history.
type exporterWorld struct{}

func (exporterWorld) LookupHost(context.Context, string) ([]string, error) {
	return []string{"192.0.2.1"}, nil
}

func (exporterWorld) Samples() []runner.ClockSample {
	return []runner.ClockSample{{Source: "chrony", HasOffset: true, At: time.Now(), SynchronizedKnown: true}}
}

func (exporterWorld) Jumps() map[string]uint64 { return map[string]uint64{"forward": 1} }

func (exporterWorld) LastJumps() map[string]time.Duration {
	return map[string]time.Duration{"forward": time.Hour}
}

func (exporterWorld) Observed() ([]runner.Container, bool) {
	return []runner.Container{
		{Name: slotContainer, Role: runner.RoleRunner, Runner: slot, State: runner.StateRunning, Health: runner.HealthHealthy, Exited: true},
	}, true
}

func (exporterWorld) Snapshot() runner.GitHub {
	return runner.GitHub{
		Scopes: []runner.Scope{{
			Name: "o/r", LastAttempt: time.Now(), Up: true, LastSuccess: time.Now(), Runners: []runner.Registration{{Name: slot, Status: "online"}},
		}},
		RateLimits: []runner.RateLimit{{Resource: "core", Reset: time.Now().Add(time.Hour), At: time.Now()}},
		Credential: runner.Credential{Known: true, PermissionKnown: true, Expiry: time.Now(), LastCheck: time.Now()},
		Requests:   map[string]uint64{"200": 1}, Failures: map[string]uint64{"auth": 0},
	}
}

func (exporterWorld) Slots() []listener.Slot {
	return []listener.Slot{{
		Runner: slot, Known: true, LastFailures: map[listener.Reason]time.Time{listener.Other: time.Now()},
		Counts: listener.Counts{Failures: map[listener.Reason]uint64{listener.Other: 1}},
		State:  listener.State{Retrying: true, RetryingSince: time.Now(), JobRunning: true, Version: "2"},
	}}
}

// remediatorMetrics scrapes a remediator that received a heartbeat and backed off its one runner.
func remediatorMetrics(t *testing.T) []*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewRegistry()
	registry.MustRegister(versioncollector.NewCollector("ghostrunner_remediator"))
	remediator := remedy.New(remedy.Options{
		Logger: quiet, Registry: registry, Docker: &oneRunner{}, JournalPath: filepath.Join(t.TempDir(), "journal.db"),
	})
	background(t, remediator.Run)
	synctest.Wait() // the journal is open
	const payload = `{"version": "4", "alerts": [
		{"status": "firing", "fingerprint": "a", "startsAt": "2000-01-01T00:00:00Z", "labels": {"alertname": "GhostrunnerWatchdog", "heartbeat": "true"}},
		{"status": "firing", "fingerprint": "b", "startsAt": "2000-01-01T00:00:00Z",
		 "labels": {"alertname": "GhostrunnerWatchdogStorm", "remediation": "backoff", "runner": "` + slot + `"}}]}`
	request := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/webhook", strings.NewReader(payload))
	request.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	httpapi.New(remediator, registry).Webhook(func(next http.Handler) http.Handler { return next }).ServeHTTP(answer, request)
	if answer.Code != http.StatusAccepted {
		t.Fatalf("the webhook answers %d: %s", answer.Code, answer.Body)
	}
	time.Sleep(time.Minute) // of the bubble's clock; the runner is stopped then, and not yet started again
	synctest.Wait()
	return gather(t, registry)
}

// oneRunner is an engine with one idle runner that stops on SIGTERM. Other calls panic.
type oneRunner struct {
	remedy.Docker

	mu   sync.Mutex
	down bool
}

func (o *oneRunner) Containers(context.Context) ([]runner.Container, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	state := "running"
	if o.down {
		state = "exited"
	}
	return []runner.Container{{
		ID: slotContainer, Name: slotContainer, Role: runner.RoleRunner, Runner: slot, Heal: []string{remedy.ActionBackoff}, State: state,
	}}, nil
}

func (o *oneRunner) Processes(context.Context, string) ([]string, error) {
	return []string{"/ghostrunner-runner run"}, nil
}

func (o *oneRunner) Terminate(context.Context, string) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.down = true
	return nil
}

func (o *oneRunner) FollowImages(ctx context.Context, _ func(string)) error {
	<-ctx.Done()
	return nil
}

var quiet = slog.New(slog.DiscardHandler)

// background runs a function until the test ends.
func background(t *testing.T, run func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func gather(t *testing.T, from prometheus.Gatherer) []*dto.MetricFamily {
	t.Helper()
	families, err := from.Gather()
	if err != nil {
		t.Fatal(err)
	}
	return families
}
