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

// The inhibition is proven by a running Alertmanager with the shipped configuration, of which only the receivers' addresses
// and the pauses for people are changed. Every alert is posted as source together with every alert as target, each pair on
// a host of its own; then it counts which notification leaves.

const webhookToken = "a-token-of-this-test" //nolint:gosec // not a credential of anything

// inhibits is the contract: causes in the order clock, DNS, credential, GitHub, Docker silence the runners of their host,
// the storm the other alerts of its runner, and the worse of two degrees the lesser one.
func inhibits(source, target Rule) bool {
	switch source.Alert {
	case "GhostrunnerClockSkewSevere":
		return target.Labels["layer"] == "runner" || target.Alert == "GhostrunnerClockDrift"
	case "GhostrunnerDNSFailing", "GhostrunnerPATInvalid", "GhostrunnerPATPermissionInsufficient",
		"GhostrunnerGitHubUnreachable", "GhostrunnerDockerDown":
		return target.Labels["layer"] == "runner"
	case "GhostrunnerWatchdogStorm":
		return ofOneRunner(target) && target.Alert != "GhostrunnerWatchdogStorm"
	case "GhostrunnerDiskCritical":
		return target.Alert == "GhostrunnerDiskLow"
	default:
		return false
	}
}

// ofOneRunner tells alerts about a runner from those about a host's runners.
func ofOneRunner(r Rule) bool {
	return r.Labels["layer"] == "runner" &&
		r.Alert != "GhostrunnerAllRunnersOffline" && r.Alert != "GhostrunnerRunnersSaturated"
}

// labels are those of an alert of the rule; without a host it is as if Prometheus had added none.
func labels(r Rule, host, runner string) map[string]string {
	l := maps.Clone(r.Labels)
	l["alertname"] = r.Alert
	if host != "" {
		l["host"] = host
	}
	if ofOneRunner(r) && runner != "" {
		l["runner"] = runner
	}
	if r.Labels["layer"] == "disk" {
		l["path"] = "/"
	}
	return l
}

// pair is one question to Alertmanager: does the source silence the target?
type pair struct {
	name           string
	source, target map[string]string
	silenced       bool
}

func pairs(t *testing.T) []pair {
	t.Helper()
	rules := alerts(t)
	byName := map[string]Rule{}
	var all []pair
	for i, source := range rules {
		byName[source.Alert] = source
		for j, target := range rules {
			if i == j || target.Alert == "GhostrunnerWatchdog" {
				continue
			}
			host := fmt.Sprintf("h%d-%d", i, j)
			all = append(all, pair{
				fmt.Sprintf("%s(%s) and %s(%s)", source.Alert, source.Labels["severity"], target.Alert, target.Labels["severity"]),
				labels(source, host, "r"), labels(target, host, "r"), inhibits(source, target),
			})
		}
	}
	github, retry, storm := byName["GhostrunnerGitHubUnreachable"], byName["GhostrunnerRunnerRetryLoop"], byName["GhostrunnerWatchdogStorm"]
	drift, mild := byName["GhostrunnerClockSkewSevere"], maps.Clone(byName["GhostrunnerClockDrift"].Labels)
	mild["alertname"], mild["host"], mild["severity"] = "SomebodysOwnCause", "own", "critical"
	return append(all,
		pair{"a cause on another host", labels(github, "one", "r"), labels(retry, "two", "r"), false},
		pair{"the storm of another runner", labels(storm, "same", "r1"), labels(retry, "same", "r2"), false},
		pair{"the storm of another host's runner", labels(storm, "three", "r1"), labels(retry, "four", "r1"), false},
		pair{"neither names a host", labels(drift, "", "r"), labels(retry, "", "no-host"), false},
		pair{"storm and alert name no runner", labels(storm, "no-runner", ""), labels(retry, "no-runner", ""), false},
		pair{"a critical cause of somebody's own", mild, labels(retry, "own", "r"), true},
	)
}

func TestCauseSilencesSymptom(t *testing.T) {
	am := startAlertmanager(t)
	cases := pairs(t)
	var sources, targets []map[string]string
	for _, c := range cases {
		sources, targets = append(sources, c.source), append(targets, c.target)
	}
	am.post(t, sources, time.Time{})
	am.await(t, "the sources are known", func() bool { return len(am.states(t)) >= len(sources) })

	am.post(t, targets, time.Time{})
	am.await(t, "what is not silenced has left for all its receivers", func() bool {
		return !slices.ContainsFunc(cases, func(c pair) bool { return !c.silenced && !am.arrived(c.target) })
	})
	states := am.states(t)
	for _, c := range cases {
		if got, want := states[key(c.target)] == "suppressed", c.silenced; got != want {
			t.Errorf("%s: silenced %v, want %v (state %q)", c.name, got, want, states[key(c.target)])
		}
		if c.silenced && am.anywhere(c.target) {
			t.Errorf("%s: a notification of the symptom has left", c.name)
		}
	}
	if t.Failed() {
		return
	}

	// Nothing but the source held the symptom back: it leaves as soon as the source is over.
	am.post(t, sources, time.Now())
	am.await(t, "what was silenced has left", func() bool {
		return !slices.ContainsFunc(cases, func(c pair) bool { return !am.arrived(c.target) })
	})
}

func TestDelivery(t *testing.T) {
	am := startAlertmanager(t)
	byName := map[string]Rule{}
	for _, r := range alerts(t) {
		byName[r.Alert] = r
	}
	restart := labels(byName["GhostrunnerRunnerUnhealthy"], "h", "r")
	heartbeat := labels(byName["GhostrunnerWatchdog"], "", "")
	refused := labels(byName["GhostrunnerDiskLow"], "refuse-once", "")
	begin := time.Now()
	am.post(t, []map[string]string{restart, heartbeat, refused}, time.Time{})
	am.await(t, "everything has arrived", func() bool {
		return am.arrived(restart) && am.arrived(refused) && am.at("heartbeat", heartbeat) != (time.Time{})
	})
	if took := am.at("remediator", restart).Sub(begin); took > 2*time.Second {
		t.Errorf("the remediator heard of an alert after %s; group_wait is not 0s", took)
	}
	for _, receiver := range []string{"people", "remediator"} {
		if at := am.at(receiver, heartbeat); !at.IsZero() {
			t.Errorf("the heartbeat went to %s", receiver)
		}
	}
	if am.refusals() != 1 {
		t.Errorf("the remediator refused %d times, want once, and then the same again", am.refusals())
	}
	if got := am.unauthorised(); len(got) > 0 {
		t.Errorf("requests without the token: %v", got)
	}
}

// alertmanager is a running Alertmanager and what has left it.
type alertmanager struct {
	url string

	mu      sync.Mutex
	arrival map[string]time.Time // first firing notification by receiver and labels
	refused int
	naked   []string
}

func startAlertmanager(t *testing.T) *alertmanager {
	t.Helper()
	am := &alertmanager{arrival: map[string]time.Time{}}
	receivers := httptest.NewServer(http.HandlerFunc(am.receive))
	t.Cleanup(receivers.Close)

	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	config := read(t, alertmanagerConfig)
	for _, change := range [][2]string{
		{"/run/ghostrunner/webhook-token", write("token", webhookToken+"\n")},
		{"  - name: remediator\n    webhook_configs:\n      - url: http://remediator:10069/webhook\n", "  - name: remediator\n    webhook_configs:\n      - url: " + receivers.URL + "/remediator\n"},
		{"  - name: heartbeat\n    webhook_configs:\n      - url: http://remediator:10069/webhook\n", "  - name: heartbeat\n    webhook_configs:\n      - url: " + receivers.URL + "/heartbeat\n"},
		{"\n  - name: people\n", "\n  - name: people\n    webhook_configs: [{ url: '" + receivers.URL + "/people' }]\n"},
		{"group_wait: 30s\n      group_interval: 5m\n", "group_wait: 0s\n      group_interval: 10s\n"},
	} {
		if strings.Count(config, change[0]) != 1 {
			t.Fatalf("%s: not exactly once: %q", alertmanagerConfig, change[0])
		}
		config = strings.Replace(config, change[0], change[1], 1)
	}

	address := freeAddress(t)
	am.url = "http://" + address
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, tool(t, "alertmanager"), "--config.file="+write("alertmanager.yml", config),
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
			t.Logf("Alertmanager said:\n%s", log.String())
		}
	})
	am.await(t, "Alertmanager is ready", func() bool {
		code, _ := am.do(t, http.MethodGet, "/-/ready", nil)
		return code == http.StatusOK
	})
	return am
}

func freeAddress(t *testing.T) string {
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

// receive plays all receivers; the path is the receiver's name.
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
	if receiver != "people" && r.Header.Get("Authorization") != "Bearer "+webhookToken {
		a.naked = append(a.naked, receiver)
	}
	for _, alert := range message.Alerts {
		if receiver == "remediator" && alert.Labels["host"] == "refuse-once" && a.refused == 0 {
			a.refused++
			http.Error(w, "not now", http.StatusServiceUnavailable)
			return
		}
		if k := receiver + " " + key(alert.Labels); alert.Status == "firing" && a.arrival[k].IsZero() {
			a.arrival[k] = time.Now()
		}
	}
}

func (a *alertmanager) refusals() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.refused
}

func (a *alertmanager) unauthorised() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.naked
}

// at is when the receiver first heard that the alert fires; zero: not yet.
func (a *alertmanager) at(receiver string, labels map[string]string) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.arrival[receiver+" "+key(labels)]
}

// arrived tells whether everybody who must hear of the alert has.
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

// post sends alerts; with an end in the past they are over.
func (a *alertmanager) post(t *testing.T, all []map[string]string, end time.Time) {
	t.Helper()
	type alert struct {
		Labels map[string]string `json:"labels"`
		Start  time.Time         `json:"startsAt"`
		End    time.Time         `json:"endsAt,omitzero"`
	}
	var body []alert
	for _, labels := range all {
		body = append(body, alert{labels, time.Now().Add(-time.Minute), end})
	}
	b, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	if code, answer := a.do(t, http.MethodPost, "/api/v2/alerts", b); code != http.StatusOK {
		t.Fatalf("Alertmanager answers %d to the alerts: %s", code, answer)
	}
}

// states are Alertmanager's words for all alerts it has: active or suppressed.
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

// do returns code 0 as long as nothing answers.
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

// await asks five times a second, for a minute.
func (a *alertmanager) await(t *testing.T, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(time.Minute)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("a minute has passed and not yet: %s", what)
		}
	}
}
