package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/stack"
)

func TestWebhookAnswers(t *testing.T) {
	payload := func(alerts ...map[string]string) string { return string(stack.Payload(time.Now(), alerts...)) }
	good := payload(stack.HeartbeatAlert())
	many := make([]map[string]string, 10_000)
	for i := range many {
		many[i] = stack.RetryLoopAlert(fmt.Sprintf("ghost-%d", i))
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

// TestRefusals asks for actions that are not allowed; each refusal is counted and in the journal.
func TestRefusals(t *testing.T) {
	lab, err := system.ServiceContainer(t.Context(), "lab")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, reason, container string
	}{
		{"no heal label", "not_allowed", lab},
		{"no such container", "no_target", "does-not-exist"},
		{"part of a name", "no_target", "ci-runner"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := refusals(t, c.reason)
			post(t, stack.UnhealthyAlert(c.container, ""))
			await(t, "the refusal to be counted", func(context.Context) (bool, error) { return refusals(t, c.reason) > before, nil })
			await(t, "the refusal in the journal", func(ctx context.Context) (bool, error) {
				header, err := system.Authorization(ctx)
				if err != nil {
					return false, err
				}
				status, body, err := system.Do(ctx, http.MethodGet, system.Ports.Remediator, "/api/v1/attempts", header, nil)
				return status == 200 && strings.Contains(string(body), c.reason) && strings.Contains(string(body), c.container), err
			})
		})
	}
}

// A runner in back-off is started again even if the remediator is killed meanwhile.
func TestRemediatorKilledDuringBackoff(t *testing.T) {
	const slot = "ci-runner-2"
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	runner := system.Container(slot)
	remediator, err := system.ServiceContainer(ctx, "remediator")
	if err != nil {
		t.Fatal(err)
	}
	state := func(container, want string) func(context.Context) (bool, error) {
		return func(ctx context.Context) (bool, error) {
			got, err := system.Docker(ctx, "inspect", "--format={{.State.Status}}", container)
			return got == want, err
		}
	}
	// It is refused until GitHub shows the other runner online again, and repeated as Alertmanager
	// does.
	stopped := state(runner, "exited")
	if err := stack.Await(ctx, slot+" to be stopped", func(ctx context.Context) (bool, error) {
		if ok, err := stopped(ctx); ok || err != nil {
			return ok, err
		}
		post(t, stack.StormAlert(slot))
		return false, nil
	}); err != nil {
		t.Fatal(err)
	}
	// Docker counts a kill as a manual stop, so the restart policy does not apply.
	if _, err := system.Docker(ctx, "kill", "--signal=KILL", remediator); err != nil {
		t.Fatal(err)
	}
	if still, err := stopped(ctx); err != nil || !still {
		t.Fatalf("the back-off ended before the kill (%v)", err)
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

// post sends alerts with the right token.
func post(t *testing.T, alerts ...map[string]string) {
	t.Helper()
	status, answer, err := system.PostWebhook(t.Context(), stack.Payload(time.Now(), alerts...))
	if err != nil || status != http.StatusAccepted {
		t.Fatalf("webhook: status %d, %v, %s", status, err, answer)
	}
}

func token(t *testing.T) string {
	t.Helper()
	value, err := system.WebhookToken(t.Context())
	if err != nil || value == "" {
		t.Fatalf("webhook token: %q, %v", value, err)
	}
	return value
}

// refusals counts the refused actions with a reason.
func refusals(t *testing.T, reason string) float64 {
	t.Helper()
	n, _, err := system.Metric(t.Context(), system.Ports.Remediator, "ghostrunner_remediator_actions_refused_total", map[string]string{"reason": reason})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// await waits longer than expected: ten thousand alerts may have to be decided before.
func await(t *testing.T, what string, condition func(context.Context) (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := stack.Await(ctx, what, condition); err != nil {
		t.Fatal(err)
	}
}
