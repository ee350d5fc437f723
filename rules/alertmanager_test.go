package rules_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A running Alertmanager with the shipped configuration. Only the receivers' addresses are changed,
// and what a test changes explicitly.

const (
	alertmanagerTemplates = "../compose/alertmanager/*.tmpl"
	webhookToken          = "a-token-of-this-test" //nolint:gosec // not a credential of anything
)

// changed returns the text with its one occurrence of old replaced, and fails the test without one.
func changed(t *testing.T, text, old, new string) string {
	t.Helper()
	if strings.Count(text, old) != 1 {
		t.Fatalf("%s: not exactly once: %q", alertmanagerConfig, old)
	}
	return strings.Replace(text, old, new, 1)
}

// notifyAtOnce makes the receiver `people` a path of the test's own server, notified without delay.
func notifyAtOnce(t *testing.T, config, receivers string) string {
	t.Helper()
	config = changed(t, config, "\n  - name: people\n", "\n  - name: people\n    webhook_configs: [{ url: '"+receivers+"/people' }]\n")
	return paced(t, config, "0s", "3s")
}

// paced changes the wait before the first message about a host and before the next.
func paced(t *testing.T, config, wait, interval string) string {
	t.Helper()
	config = changed(t, config, "group_wait: 30s\n", "group_wait: "+wait+"\n")
	config = changed(t, config, "group_interval: 1m\n", "group_interval: "+interval+"\n")
	return changed(t, config, "group_interval: 5m\n", "group_interval: "+interval+"\n")
}

// alertmanager is a running Alertmanager and the notifications that it sent.
type alertmanager struct {
	url string

	mu      sync.Mutex
	arrival map[string]time.Time // first firing notification by receiver and labels
	count   map[string]int       // notifications by receiver and labels; resolved ones by "receiver resolved" and labels
	refused int
	badAuth []string // receivers that got the remediator's token wrongly, or did not get it
}

// startAlertmanager runs until the test ends. change gets the configuration and the address of the
// server whose paths are the receivers `people`, `remediator`, `heartbeat` and `dead-mans-switch`.
func startAlertmanager(t *testing.T, change func(t *testing.T, config, receivers string) string) *alertmanager {
	t.Helper()
	am := &alertmanager{arrival: map[string]time.Time{}, count: map[string]int{}}
	receivers := httptest.NewServer(http.HandlerFunc(am.receive))
	t.Cleanup(receivers.Close)

	dir := t.TempDir()
	config := read(t, alertmanagerConfig)
	config = changed(t, config, "/run/ghostrunner/webhook-token", write(t, dir, "token", webhookToken+"\n"))
	for _, name := range []string{"remediator", "heartbeat"} {
		url := "  - name: " + name + "\n    webhook_configs:\n      - url: "
		config = changed(t, config, url+"http://remediator:10069/webhook\n", url+receivers.URL+"/"+name+"\n")
	}
	for _, file := range glob(t, alertmanagerTemplates) {
		write(t, dir, filepath.Base(file), read(t, file))
	}
	path := write(t, dir, "alertmanager.yml", change(t, config, receivers.URL))

	address := freeAddress(t)
	am.url = "http://" + address
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, tool(t, "alertmanager"), "--config.file="+path,
		"--storage.path="+filepath.Join(dir, "data"), "--cluster.listen-address=", "--web.listen-address="+address)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	if err := cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // ended by us
		if t.Failed() {
			t.Logf("Alertmanager logged:\n%s", log.String())
		}
	})
	am.await(t, "Alertmanager is ready", func() bool {
		code, _ := am.do(t, http.MethodGet, "/-/ready", nil)
		return code == http.StatusOK
	})
	return am
}

func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return address
}

// receive serves all receivers; the path is the receiver's name.
func (a *alertmanager) receive(w http.ResponseWriter, r *http.Request) {
	var message struct {
		Alerts []struct {
			Status string
			Labels map[string]string
		}
	}
	if err := json.NewDecoder(r.Body).Decode(&message); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	receiver := strings.TrimPrefix(r.URL.Path, "/")
	a.mu.Lock()
	defer a.mu.Unlock()
	inside := receiver == "remediator" || receiver == "heartbeat"
	if shown := r.Header.Get("Authorization") == "Bearer "+webhookToken; shown != inside {
		a.badAuth = append(a.badAuth, receiver)
	}
	for _, alert := range message.Alerts {
		if receiver == "remediator" && alert.Labels["host"] == "refuse-once" && a.refused == 0 {
			a.refused++
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		if alert.Status != "firing" {
			a.count[receiver+" resolved "+key(alert.Labels)]++
			continue
		}
		k := receiver + " " + key(alert.Labels)
		if a.count[k]++; a.count[k] == 1 {
			a.arrival[k] = time.Now()
		}
	}
}

func (a *alertmanager) refusals() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.refused
}

func (a *alertmanager) badAuthorization() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.badAuth
}

// times returns how often the receiver was notified that the alert fires.
func (a *alertmanager) times(receiver string, labels map[string]string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.count[receiver+" "+key(labels)]
}

// at returns when the receiver was first notified that the alert fires; zero: not yet.
func (a *alertmanager) at(receiver string, labels map[string]string) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.arrival[receiver+" "+key(labels)]
}

// arrived reports whether people and, if it is remediated, the remediator were notified of the
// alert.
func (a *alertmanager) arrived(labels map[string]string) bool {
	return !a.at("people", labels).IsZero() && (labels["remediation"] == "" || !a.at("remediator", labels).IsZero())
}

func (a *alertmanager) anywhere(labels map[string]string) bool {
	return !a.at("people", labels).IsZero() || !a.at("remediator", labels).IsZero()
}

// key identifies an alert by its labels.
func key(labels map[string]string) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		fmt.Fprintf(&b, "%s=%q ", name, labels[name])
	}
	return b.String()
}

// alert is one as Prometheus sends it.
type alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Start       time.Time         `json:"startsAt"`
	End         time.Time         `json:"endsAt,omitzero"`
}

// post sends alerts without annotations that began a minute ago; with an end in the past they are
// resolved.
func (a *alertmanager) post(t *testing.T, all []map[string]string, end time.Time) {
	t.Helper()
	var alerts []alert
	for _, labels := range all {
		alerts = append(alerts, alert{Labels: labels, Start: time.Now().Add(-time.Minute), End: end})
	}
	a.send(t, "/api/v2/alerts", alerts)
}

// send posts something as JSON to Alertmanager and returns the answer.
func (a *alertmanager) send(t *testing.T, path string, what any) []byte {
	t.Helper()
	b, err := json.Marshal(what)
	if err != nil {
		t.Fatal(err)
	}
	code, answer := a.do(t, http.MethodPost, path, b)
	if code != http.StatusOK {
		t.Fatalf("Alertmanager answers %d at %s: %s", code, path, answer)
	}
	return answer
}

// states returns the state of each alert by its key: active or suppressed.
func (a *alertmanager) states(t *testing.T) map[string]string {
	t.Helper()
	code, body := a.do(t, http.MethodGet, "/api/v2/alerts", nil)
	if code != http.StatusOK {
		t.Fatalf("Alertmanager answers %d: %s", code, body)
	}
	var list []struct {
		Labels map[string]string
		Status struct{ State string }
	}
	if err := json.Unmarshal(body, &list); err != nil {
		t.Fatal(err)
	}
	states := make(map[string]string, len(list))
	for _, alert := range list {
		states[key(alert.Labels)] = alert.Status.State
	}
	return states
}

// do sends a request; code 0: no answer.
func (a *alertmanager) do(t *testing.T, method, path string, body []byte) (int, []byte) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, a.url+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, nil
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, answer
}

// await checks five times a second, for a minute.
func (a *alertmanager) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
