package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/stack"
)

func TestWebhookDoor(t *testing.T) {
	good := payload(map[string]string{"alertname": "GhostrunnerWatchdog"})
	many := make([]map[string]string, 10_000)
	for i := range many {
		many[i] = map[string]string{"alertname": "GhostrunnerRunnerRetryLoop", "remediation": "restart", "runner": fmt.Sprintf("ghost-%d", i)}
	}
	for _, c := range []struct {
		name, authorization, body string
		want                      int
		reason                    string
	}{
		{"no token", "", good, 401, ""},
		{"wrong token", "Bearer wrong", good, 401, ""},
		{"garbage", "Bearer " + token(t), "{garbage", 400, "JSON"},
		{"wrong version", "Bearer " + token(t), `{"version":"3"}`, 400, "version"},
		{"10,000 alerts", "Bearer " + token(t), payload(many...), 202, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			header := http.Header{"Content-Type": {"application/json"}}
			if c.authorization != "" {
				header.Set("Authorization", c.authorization)
			}
			status, body, err := system.Do(t.Context(), http.MethodPost, system.Ports.Remediator, "/webhook", header, strings.NewReader(c.body))
			if err != nil {
				t.Fatal(err)
			}
			if status != c.want || !strings.Contains(string(body), c.reason) {
				t.Errorf("status %d, body %q; want %d with %q", status, body, c.want, c.reason)
			}
			if strings.Contains(string(body), token(t)) {
				t.Error("the answer contains the token")
			}
		})
	}
}

// TestRefusals asks for what must not be done, and finds each refusal counted and in the journal.
func TestRefusals(t *testing.T) {
	lab, err := system.ServiceContainer(t.Context(), "lab")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, reason string
		labels       map[string]string
	}{
		{"no heal label", "not_allowed", map[string]string{"container": lab}},
		{"no such container", "no_target", map[string]string{"container": "does-not-exist"}},
		{"part of a name", "no_target", map[string]string{"container": "ci-runner"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := refusals(t, c.reason)
			labels := map[string]string{"alertname": "GhostrunnerRunnerUnhealthy", "remediation": "restart"}
			maps.Copy(labels, c.labels)
			post(t, 202, payload(labels))
			await(t, "the refusal to be counted", func(context.Context) (bool, error) { return refusals(t, c.reason) > before, nil })
			header := http.Header{"Authorization": {"Bearer " + token(t)}}
			await(t, "the refusal in the journal", func(ctx context.Context) (bool, error) {
				status, body, err := system.Do(ctx, http.MethodGet, system.Ports.Remediator, "/api/v1/attempts", header, nil)
				return status == 200 && strings.Contains(string(body), c.reason) && strings.Contains(string(body), c.labels["container"]), err
			})
		})
	}
}

// TestKilledDuringBackoff kills the remediator while a runner rests, and sees the runner come back all the same.
func TestKilledDuringBackoff(t *testing.T) {
	const slot = "ci-runner-2"
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	runner := system.Container(slot)
	remediator, err := system.ServiceContainer(ctx, "remediator")
	if err != nil {
		t.Fatal(err)
	}
	storm := payload(map[string]string{"alertname": "GhostrunnerWatchdogStorm", "remediation": "backoff", "runner": slot, "host": "local"})
	state := func(container, want string) func(context.Context) (bool, error) {
		return func(ctx context.Context) (bool, error) {
			got, err := system.Docker(ctx, "inspect", "--format={{.State.Status}}", container)
			return got == want, err
		}
	}
	// It is refused as long as GitHub does not see the other runner online again, and repeated, as by Alertmanager.
	stopped := state(runner, "exited")
	if err := stack.Await(ctx, slot+" to be stopped", func(ctx context.Context) (bool, error) {
		if ok, err := stopped(ctx); ok || err != nil {
			return ok, err
		}
		post(t, 202, storm)
		return false, nil
	}); err != nil {
		t.Fatal(err)
	}
	// A kill from outside counts as a manual stop, so the restart policy leaves it dead: start it as an operator would.
	if _, err := system.Docker(ctx, "kill", "--signal=KILL", remediator); err != nil {
		t.Fatal(err)
	}
	if still, err := stopped(ctx); err != nil || !still {
		t.Fatalf("the back-off was over before the kill (%v): the test proves nothing", err)
	}
	if _, err := system.Docker(ctx, "start", remediator); err != nil {
		t.Fatal(err)
	}
	if err := stack.Await(ctx, slot+" to be started again", state(runner, "running")); err != nil {
		t.Fatal(err)
	}
	await(t, slot+" to be online", func(ctx context.Context) (bool, error) {
		_, ok, err := system.Query(ctx, fmt.Sprintf("ghostrunner_runner_online{runner=%q} == 1", slot))
		return ok, err
	})
}

// payload is Alertmanager's version 4 message with these alerts, firing.
func payload(alerts ...map[string]string) string {
	type alert struct {
		Status      string            `json:"status"`
		Labels      map[string]string `json:"labels"`
		Annotations map[string]string `json:"annotations"`
		StartsAt    time.Time         `json:"startsAt"`
		Fingerprint string            `json:"fingerprint"`
	}
	message := struct {
		Version  string  `json:"version"`
		GroupKey string  `json:"groupKey"`
		Status   string  `json:"status"`
		Receiver string  `json:"receiver"`
		Alerts   []alert `json:"alerts"`
	}{Version: "4", GroupKey: "{}:{}", Status: "firing", Receiver: "remediator"}
	for i, labels := range alerts {
		message.Alerts = append(message.Alerts, alert{"firing", labels, map[string]string{}, time.Now().UTC(), fmt.Sprintf("%016x", time.Now().UnixNano()+int64(i))})
	}
	text, err := json.Marshal(message)
	if err != nil {
		panic(err) // strings and times always encode
	}
	return string(text)
}

// post sends a payload with the right token.
func post(t *testing.T, want int, body string) {
	t.Helper()
	header := http.Header{"Content-Type": {"application/json"}, "Authorization": {"Bearer " + token(t)}}
	status, answer, err := system.Do(t.Context(), http.MethodPost, system.Ports.Remediator, "/webhook", header, strings.NewReader(body))
	if err != nil || status != want {
		t.Fatalf("webhook: status %d, %v, %s", status, err, answer)
	}
}

// token is the stack's webhook token, read once.
var tokenOnce = sync.OnceValues(func() (string, error) { return system.WebhookToken(context.Background()) })

func token(t *testing.T) string {
	t.Helper()
	value, err := tokenOnce()
	if err != nil || value == "" {
		t.Fatalf("webhook token: %q, %v", value, err)
	}
	return value
}

// refusals counts refused actions for a reason.
func refusals(t *testing.T, reason string) float64 {
	t.Helper()
	n, _, err := system.Metric(t.Context(), system.Ports.Remediator, "ghostrunner_remediator_actions_refused_total", map[string]string{"reason": reason})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// await waits for what should come much sooner, on a busy machine too: ten thousand alerts may have to be decided before.
func await(t *testing.T, what string, condition func(context.Context) (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := stack.Await(ctx, what, condition); err != nil {
		t.Fatal(err)
	}
}
