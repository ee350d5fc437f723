package remedy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/remedy/prune"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// fakeDocker is a world of containers in memory. Its functions, where set, replace
// what it would do.
type fakeDocker struct {
	mu         sync.Mutex
	list       []runner.Container
	processes  map[string][]string
	stubborn   map[string]bool // ignores SIGTERM
	images     []runner.Image
	leftovers  []runner.Leftover
	cache      uint64
	calls      []string // every call that changes something
	containers func(ctx context.Context) ([]runner.Container, error)
	process    func(ctx context.Context, id string) ([]string, error)
	start      func(id string) error
	terminate  func(id string) error
	uses       chan string // images that a container is made from
}

func newFake(list ...runner.Container) *fakeDocker {
	return &fakeDocker{uses: make(chan string), list: list, processes: map[string][]string{}, stubborn: map[string]bool{}}
}

func slot(name string, heal ...string) runner.Container {
	return runner.Container{ID: "id-" + name, Name: "demo-" + name, Role: runner.RoleRunner, Runner: name, Heal: heal, State: "running"}
}

func (f *fakeDocker) did(format string, args ...any) {
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

// set changes a container.
func (f *fakeDocker) set(id string, change func(*runner.Container)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.change(id, change)
}

func (f *fakeDocker) change(id string, change func(*runner.Container)) {
	i := slices.IndexFunc(f.list, func(c runner.Container) bool { return c.ID == id })
	if i >= 0 {
		f.list = slices.Clone(f.list)
		change(&f.list[i])
	}
}

func (f *fakeDocker) busy(id string, busy bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.processes[id] = []string{"/ghostrunner-runner run", "/actions-runner/bin/Runner.Listener run"}
	if busy {
		f.processes[id] = append(f.processes[id], "/actions-runner/bin/Runner.Worker spawnclient 3 4")
	}
}

func (f *fakeDocker) done() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.calls)
}

func (f *fakeDocker) state(id string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, c := range f.list {
		if c.ID == id {
			return c.State
		}
	}
	return "gone"
}

func (f *fakeDocker) Containers(ctx context.Context) ([]runner.Container, error) {
	f.mu.Lock()
	instead, list := f.containers, slices.Clone(f.list)
	f.mu.Unlock()
	if instead != nil {
		return instead(ctx)
	}
	return list, nil
}

func (f *fakeDocker) Processes(ctx context.Context, id string) ([]string, error) {
	if f.process != nil {
		return f.process(ctx, id)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if p, ok := f.processes[id]; ok {
		return slices.Clone(p), nil
	}
	return []string{"/ghostrunner-runner run"}, nil
}

func (f *fakeDocker) Terminate(_ context.Context, id string) error {
	if f.terminate != nil {
		if err := f.terminate(id); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did("terminate %s", id)
	if !f.stubborn[id] && !slices.ContainsFunc(f.processes[id], runner.IsWorker) {
		f.change(id, func(c *runner.Container) { c.State = "exited" })
	}
	return nil
}

func (f *fakeDocker) Stop(_ context.Context, id string, _ time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did("stop %s", id)
	f.change(id, func(c *runner.Container) { c.State = "exited" })
	return nil
}

func (f *fakeDocker) Restart(_ context.Context, id string, timeout time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did("restart %s %s", id, timeout)
	f.change(id, func(c *runner.Container) {
		c.State = "running"
		if c.Health != "" {
			c.Health = "healthy"
		}
	})
	return nil
}

func (f *fakeDocker) Start(ctx context.Context, id string) error {
	if f.start != nil {
		if err := f.start(id); err != nil {
			return err
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did("start %s", id)
	f.change(id, func(c *runner.Container) {
		c.State = "running"
		if c.Health != "" {
			c.Health = "healthy"
		}
	})
	return ctx.Err() // it starts, whether or not somebody still waits for it
}

func (f *fakeDocker) Images(context.Context, string) ([]runner.Image, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.images), nil
}

func (f *fakeDocker) RemoveImage(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if strings.HasPrefix(id, "stuck") {
		return errors.New("image has dependent child images")
	}
	f.did("remove image %s", id)
	f.images = slices.DeleteFunc(slices.Clone(f.images), func(i runner.Image) bool { return i.ID == id })
	return nil
}

func (f *fakeDocker) BuildCache(context.Context, time.Duration) (uint64, error) { return f.cache, nil }

func (f *fakeDocker) PruneBuildCache(_ context.Context, unused time.Duration) (uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if unused > 0 {
		f.did("prune cache unused for %s", unused)
	} else {
		f.did("prune cache")
	}
	return f.cache, nil
}

func (f *fakeDocker) FollowImages(ctx context.Context, used func(id string)) error {
	for {
		select {
		case id := <-f.uses:
			used(id)
		case <-ctx.Done():
			return nil
		}
	}
}

func (f *fakeDocker) Leftovers(context.Context, string) ([]runner.Leftover, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.leftovers), nil
}

func (f *fakeDocker) RemoveContainer(_ context.Context, id string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did("remove container %s", id)
	return nil
}

func (f *fakeDocker) Root(context.Context) (string, error) { return "/", nil }

// fakeGitHub knows some registrations, or has not been asked of late.
type fakeGitHub struct {
	mu     sync.Mutex
	list   []runner.Registration
	silent bool
}

// registered is a GitHub with one registration.
func registered(name string, online, busy bool) *fakeGitHub {
	status := runner.StatusOffline
	if online {
		status = runner.StatusOnline
	}
	return &fakeGitHub{list: []runner.Registration{{ID: 1, Name: name, Status: status, Busy: busy}}}
}

func (g *fakeGitHub) set(list ...runner.Registration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.list = list
}

func (g *fakeGitHub) Known(string) ([]runner.Registration, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.list), !g.silent
}

func (g *fakeGitHub) Ask(context.Context, string) ([]runner.Registration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.silent {
		return nil, errors.New("no answer")
	}
	return slices.Clone(g.list), nil
}

// start runs a remediator over a fake world until the test ends. Stop it early
// with the function returned.
func start(t testing.TB, d Docker, change func(*Options)) (*Remediator, *prometheus.Registry, func()) {
	t.Helper()
	reg := prometheus.NewRegistry()
	o := Options{
		Logger: slog.New(slog.DiscardHandler), Registry: reg, Docker: d,
		JournalPath:      filepath.Join(t.TempDir(), "journal.db"),
		HeartbeatTimeout: 1000 * time.Hour, // few tests have a pipeline
		Pruner:           prune.Pruner{Measure: disk(5e9)},
	}
	o.BootTime = uptime
	if change != nil {
		change(&o)
	}
	r := New(o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return r, reg, stop
}

// uptime is a clock of the machine that goes as the bubble's does.
func uptime() journal.BootTime {
	return journal.BootTime{Boot: "boot", Up: time.Since(time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC))}
}

// disk is a large one with so much free space.
func disk(free uint64) prune.Measure {
	return func(string) (uint64, uint64, error) { return free, 100e9, nil }
}

// patience is how long a test waits for what should come much sooner, on a machine with a busy disk
// too.
const patience = 2 * time.Minute

// until waits for a condition. In a synctest bubble time costs nothing.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for begin := time.Now(); !ok(); {
		if time.Since(begin) > patience {
			t.Fatalf("never happened: %s", what)
		}
		<-time.After(5 * time.Millisecond)
	}
}

func ready(t testing.TB, r *Remediator) {
	t.Helper()
	until(t, "ready", func() bool { return r.Ready() == nil })
}

// Alerts of the shipped rules, and the labels that say what they mean.
const (
	retryLoop = "GhostrunnerRunnerRetryLoop"
	storm     = "GhostrunnerWatchdogStorm"
	diskLow   = "GhostrunnerDiskLow"
	watchdog  = "GhostrunnerWatchdog"
)

var ruleLabels = map[string][]string{
	retryLoop:                     {labelRecheck, recheckOnline, labelCountsAs, countsAsFire},
	"GhostrunnerRunnerOffline":    {labelRecheck, recheckOnline},
	"GhostrunnerRunnerUnhealthy":  {labelRecheck, recheckHealth},
	"GhostrunnerServiceUnhealthy": {labelRecheck, recheckHealth},
	diskLow:                       {labelRecheck, recheckDisk, prune.LabelThreshold, "10000000000", prune.LabelTarget, "12000000000"},
	"GhostrunnerDiskCritical":     {labelRecheck, recheckDisk, prune.LabelThreshold, "2000000000", prune.LabelTarget, "2400000000"},
	watchdog:                      {labelHeartbeat, "true"},
}

// alertOf is a firing alert that asks for an action.
func alertOf(name, action string, labels ...string) Notice {
	l := map[string]string{"alertname": name, "severity": "warning"}
	if action != "" {
		l[labelRemediation] = action
	}
	for _, more := range [][]string{ruleLabels[name], labels} {
		for i := 0; i+1 < len(more); i += 2 {
			l[more[i]] = more[i+1]
		}
	}
	return Notice{Alert: journal.Alert{
		Fingerprint: fmt.Sprintf("%s/%s/%v", name, action, labels), StartsAt: time.Now().Add(-time.Minute).UTC(),
		Labels: l, Summary: "It is so.",
	}}
}

// send reports alerts, which must be accepted.
func send(t testing.TB, r *Remediator, list ...Notice) {
	t.Helper()
	if err := report(r, list...); err != nil {
		t.Fatal(err)
	}
}

// report reports alerts that are received now.
func report(r *Remediator, list ...Notice) error {
	list = slices.Clone(list)
	for i := range list {
		list[i].Received = time.Now()
	}
	_, err := r.Accept(list, 0)
	return err
}

// attempts is the history, newest first.
func attempts(r *Remediator, limit int) []journal.Record { return r.Attempts(time.Time{}, limit) }

// change changes the state of a remediator.
func change(t testing.TB, r *Remediator, fn func(*journal.Tx)) {
	t.Helper()
	if err := r.store.Update(func(tx *journal.Tx) error { fn(tx); return nil }); err != nil {
		t.Fatal(err)
	}
}

// idle waits until every alert is decided and nothing is in progress.
func idle(t testing.TB, r *Remediator) {
	t.Helper()
	until(t, "idle", func() bool {
		r.reconciler.mu.Lock()
		defer r.reconciler.mu.Unlock()
		for _, task := range r.reconciler.tasks {
			if task.claimed {
				return false
			}
		}
		return r.store.State().Queue == 0
	})
}

// outcomes is the history, oldest first, in few words.
func outcomes(r *Remediator) []string {
	var out []string
	for _, rec := range attempts(r, 100) {
		s := rec.Action + " " + rec.Target + " " + string(rec.Outcome)
		if rec.Reason != "" {
			s += " " + rec.Reason
		}
		out = append(out, s)
	}
	slices.Reverse(out)
	return out
}
