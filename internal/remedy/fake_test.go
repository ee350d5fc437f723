package remedy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// fakeDocker is a world of containers in memory. Its functions, where set, replace
// what it would do.
type fakeDocker struct {
	mu         sync.Mutex
	list       []Container
	processes  map[string][]string
	stubborn   map[string]bool // ignores SIGTERM
	images     []Image
	leftovers  []Leftover
	cache      uint64
	calls      []string // every call that changes something
	containers func(ctx context.Context) ([]Container, error)
	process    func(ctx context.Context, id string) ([]string, error)
	start      func(id string) error
	terminate  func(id string) error
	uses       chan string // images that a container is made from
}

func newFake(list ...Container) *fakeDocker {
	return &fakeDocker{uses: make(chan string), list: list, processes: map[string][]string{}, stubborn: map[string]bool{}}
}

func runnerContainer(name string, heal ...string) Container {
	return Container{ID: "id-" + name, Name: "demo-" + name, Role: RoleRunner, Runner: name, Heal: heal, State: "running"}
}

func (f *fakeDocker) did(format string, args ...any) {
	f.calls = append(f.calls, fmt.Sprintf(format, args...))
}

// set changes a container.
func (f *fakeDocker) set(id string, change func(*Container)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.change(id, change)
}

func (f *fakeDocker) change(id string, change func(*Container)) {
	i := slices.IndexFunc(f.list, func(c Container) bool { return c.ID == id })
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

func (f *fakeDocker) Containers(ctx context.Context) ([]Container, error) {
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
		f.change(id, func(c *Container) { c.State = "exited" })
	}
	return nil
}

func (f *fakeDocker) Stop(_ context.Context, id string, _ time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did("stop %s", id)
	f.change(id, func(c *Container) { c.State = "exited" })
	return nil
}

func (f *fakeDocker) Restart(_ context.Context, id string, timeout time.Duration) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.did("restart %s %s", id, timeout)
	f.change(id, func(c *Container) {
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
	f.change(id, func(c *Container) {
		c.State = "running"
		if c.Health != "" {
			c.Health = "healthy"
		}
	})
	return ctx.Err() // it starts, whether or not somebody still waits for it
}

func (f *fakeDocker) Images(context.Context, string) ([]Image, error) {
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
	f.images = slices.DeleteFunc(slices.Clone(f.images), func(i Image) bool { return i.ID == id })
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

func (f *fakeDocker) Leftovers(context.Context, string) ([]Leftover, error) {
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
	mu      sync.Mutex
	list    []Registration
	silent  bool
	removed []string
}

// registered is a GitHub with one registration.
func registered(name string, online, busy bool) *fakeGitHub {
	return &fakeGitHub{list: []Registration{{ID: 1, Name: name, Status: status(online), Busy: busy}}}
}

func (g *fakeGitHub) set(list ...Registration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.list = list
}

func (g *fakeGitHub) Known(string) ([]Registration, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.list), !g.silent
}

func (g *fakeGitHub) Ask(context.Context, string) ([]Registration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.silent {
		return nil, errors.New("no answer")
	}
	return slices.Clone(g.list), nil
}

func (g *fakeGitHub) Deregister(_ context.Context, scope string, id int64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.IndexFunc(g.list, func(r Registration) bool { return r.ID == id })
	if i < 0 {
		return errors.New("no such runner")
	}
	g.removed = append(g.removed, g.list[i].Name+"@"+scope)
	g.list = slices.Delete(slices.Clone(g.list), i, i+1)
	return nil
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
		Free:             func(string) (uint64, error) { return 5e9, nil },
	}
	o.Uptime = uptime
	if change != nil {
		change(&o)
	}
	r, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
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
func uptime() Mark { return Mark{"boot", time.Since(time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC))} }

// patience is how long a test waits for what should come much sooner, on a machine with a busy disk too.
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

// hang makes Docker answer nothing until it is released, and tells of questions. The release must come before the
// remediator is stopped.
func (f *fakeDocker) hang(asked chan<- struct{}) (release func()) {
	gate := make(chan struct{})
	f.containers = func(ctx context.Context) ([]Container, error) {
		select {
		case asked <- struct{}{}:
		default:
		}
		<-gate
		return nil, ctx.Err()
	}
	return func() { close(gate) }
}

func ready(t testing.TB, r *Remediator) {
	t.Helper()
	until(t, "ready", func() bool { return r.Ready() == nil })
}

// alertOf is a firing alert of the payload.
func alertOf(name, action string, labels ...string) map[string]any {
	l := map[string]string{"alertname": name, "severity": "warning"}
	if action != "" {
		l["remediation"] = action
	}
	for i := 0; i+1 < len(labels); i += 2 {
		l[labels[i]] = labels[i+1]
	}
	return map[string]any{
		"status": "firing", "labels": l, "annotations": map[string]string{"summary": "It is so."},
		"startsAt": time.Now().Add(-time.Minute).UTC().Format(time.RFC3339Nano), "endsAt": "0001-01-01T00:00:00Z",
		"generatorURL": "http://prometheus/graph", "fingerprint": fmt.Sprintf("%s/%s/%v", name, action, labels),
	}
}

func payload(alerts ...map[string]any) string {
	b, err := json.Marshal(map[string]any{
		"version": "4", "groupKey": "{}", "truncatedAlerts": 0, "status": "firing", "receiver": "remediator",
		"groupLabels": map[string]string{}, "commonLabels": map[string]string{}, "commonAnnotations": map[string]string{},
		"externalURL": "http://alertmanager", "notification_reason": "new", "alerts": alerts,
	})
	if err != nil {
		panic(err)
	}
	return string(b)
}

// send posts alerts to the webhook, which must accept them.
func send(t testing.TB, r *Remediator, alerts ...map[string]any) {
	t.Helper()
	w := post(r, payload(alerts...))
	if w.Code != http.StatusAccepted {
		t.Fatalf("webhook answered %d: %s", w.Code, w.Body)
	}
}

func post(r *Remediator, body string) *httptest.ResponseRecorder {
	req := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/webhook", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	r.Webhook(open).ServeHTTP(w, req)
	return w
}

// open lets everybody in.
func open(next http.Handler) http.Handler { return next }

// idle waits until every alert is decided and nothing is in progress.
func idle(t testing.TB, r *Remediator) {
	t.Helper()
	until(t, "idle", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.state.queue == 0 && len(r.inflight) == 0
	})
}

// outcomes is the history, oldest first, in few words.
func outcomes(r *Remediator) []string {
	var out []string
	for _, rec := range r.Attempts(100) {
		s := rec.Action + " " + rec.Target + " " + string(rec.Outcome)
		if rec.Reason != "" {
			s += " " + rec.Reason
		}
		out = append(out, s)
	}
	slices.Reverse(out)
	return out
}

func status(online bool) string {
	if online {
		return runner.StatusOnline
	}
	return runner.StatusOffline
}
