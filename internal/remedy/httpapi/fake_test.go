package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/blueguy23/ghostrunner/internal/remedy"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// fakeDocker is an engine with some idle containers. Everything else that is asked of it is a
// panic.
type fakeDocker struct {
	remedy.Docker

	list []runner.Container
	hang func() // before an answer
}

func slot(name string) runner.Container {
	return runner.Container{
		ID: "id-" + name, Name: name, Role: runner.RoleRunner, Runner: name, Heal: []string{remedy.ActionRestart}, State: runner.StateRunning,
	}
}

func (d *fakeDocker) Containers(context.Context) ([]runner.Container, error) {
	if d.hang != nil {
		d.hang()
	}
	return d.list, nil
}

func (d *fakeDocker) Processes(context.Context, string) ([]string, error) {
	return []string{"/actions-runner/bin/Runner.Worker spawnclient 3 4"}, nil // busy: nothing is done
}

func (d *fakeDocker) FollowImages(ctx context.Context, _ func(string)) error {
	<-ctx.Done()
	return nil
}

// hanging is an engine that answers nothing until it is released, which must come before the
// remediator is stopped. It reports requests.
func hanging(asked chan<- struct{}) (d *fakeDocker, release func()) {
	gate := make(chan struct{})
	return &fakeDocker{hang: func() {
		select {
		case asked <- struct{}{}:
		default:
		}
		<-gate
	}}, sync.OnceFunc(func() { close(gate) })
}

// world is a server of a remediator that runs until the test ends.
type world struct {
	*Server

	registry *prometheus.Registry
	stop     func()
}

func start(t testing.TB, d remedy.Docker, change func(*remedy.Options)) world {
	t.Helper()
	w := world{registry: prometheus.NewRegistry()}
	o := remedy.Options{
		Logger: slog.New(slog.DiscardHandler), Registry: w.registry, Docker: d,
		JournalPath: filepath.Join(t.TempDir(), "journal.db"), HeartbeatTimeout: 1000 * time.Hour,
	}
	if change != nil {
		change(&o)
	}
	r := remedy.New(o)
	w.Server = New(r, w.registry)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

// ready waits until alerts are accepted.
func (w world) ready(t testing.TB) {
	t.Helper()
	until(t, "ready", func() bool { return w.remediator.Ready() == nil })
}

// idle waits until every alert is decided.
func (w world) idle(t testing.TB) {
	t.Helper()
	until(t, "idle", func() bool { return w.remediator.Status().Queue == 0 })
}

// metric is the value of a series.
func (w world) metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	families, err := w.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			got := map[string]string{}
			for _, l := range m.GetLabel() {
				got[l.GetName()] = l.GetValue()
			}
			same := f.GetName() == name
			for i := 0; i+1 < len(labels); i += 2 {
				same = same && got[labels[i]] == labels[i+1]
			}
			if same {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no series %s %v", name, labels)
	return 0
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
func (w world) send(t testing.TB, alerts ...map[string]any) {
	t.Helper()
	if a := w.post(payload(alerts...)); a.Code != http.StatusAccepted {
		t.Fatalf("webhook answered %d: %s", a.Code, a.Body)
	}
}

func (w world) post(body string) *httptest.ResponseRecorder {
	req := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/webhook", strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	a := httptest.NewRecorder()
	w.Webhook(open).ServeHTTP(a, req)
	return a
}

// open lets every request in.
func open(next http.Handler) http.Handler { return next }
