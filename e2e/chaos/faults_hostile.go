package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// hostileFaults are webhooks that somebody with the token could send.
func (w *world) hostileFaults() []scenario.Fault {
	return []scenario.Fault{
		{
			Name: "alert storm", Story: "a hundred payloads with a hundred alerts each, of which none names anything that exists, and all of it twice",
			Break: act(func(ctx context.Context) error {
				for range 2 {
					for i := range 100 {
						var alerts []map[string]string
						for j := range 100 {
							alerts = append(alerts, map[string]string{"alertname": "GhostrunnerRunnerRetryLoop", "remediation": "restart", "runner": fmt.Sprintf("ghost-%d-%d", i, j)})
						}
						if err := w.post(ctx, alerts...); err != nil {
							return err
						}
					}
				}
				return nil
			}),
			Rises:  `sum(ghostrunner_remediator_actions_refused_total{reason="no_target"})`,
			Healed: both(state(w.holds(`ghostrunner_remediator_queue_length == 0`)), runnersOnline()),
		}, {
			Name: "hostile labels", Story: "alerts name foreign containers, parts of names, paths, the healer itself, and a foreign host",
			Break: act(func(ctx context.Context) error {
				remediator, err := w.ServiceContainer(ctx, "remediator")
				if err != nil {
					return err
				}
				var alerts []map[string]string
				for _, target := range []string{
					"foreign-0", "ci-runner", "ci-runner-", ".*", "", "/", "../" + w.Container(one), remediator, w.Container(one) + "\x00", "'; DROP TABLE",
					"<script>alert(1)</script>", "\x1b[2J", strings.Repeat("x", 1<<16),
				} {
					for _, label := range []string{"container", "runner"} {
						alerts = append(alerts, map[string]string{"alertname": "GhostrunnerRunnerUnhealthy", "remediation": "restart", label: target})
					}
				}
				return w.post(ctx, append(alerts,
					map[string]string{"alertname": "X", "remediation": "remove", "container": "foreign-0"},
					map[string]string{"alertname": "X", "remediation": "backoff", "runner": "foreign-0"},
				)...)
			}),
			Rises:  `sum(ghostrunner_remediator_actions_refused_total)`,
			Healed: both(state(w.holds(`ghostrunner_remediator_queue_length == 0`)), runnersOnline()),
		},
	}
}

// post sends a payload as Alertmanager does.
func (w *world) post(ctx context.Context, alerts ...map[string]string) error {
	type one struct {
		Status      string            `json:"status"`
		Labels      map[string]string `json:"labels"`
		StartsAt    time.Time         `json:"startsAt"`
		Fingerprint string            `json:"fingerprint"`
	}
	payload := struct {
		Version string `json:"version"`
		Status  string `json:"status"`
		Alerts  []one  `json:"alerts"`
	}{Version: "4", Status: "firing"}
	for _, labels := range alerts {
		// What Alertmanager would say is a hash of the labels.
		hash := sha256.Sum256(fmt.Append(nil, labels))
		payload.Alerts = append(payload.Alerts, one{"firing", labels, time.Now(), hex.EncodeToString(hash[:8])})
	}
	body, err := json.Marshal(payload)
	if err != nil {
		return err
	}
	token, err := w.WebhookToken(ctx)
	if err != nil {
		return err
	}
	// A full queue asks to come again, and Alertmanager does.
	return stack.Await(ctx, "the webhook to be accepted", func(ctx context.Context) (bool, error) {
		status, text, err := w.Do(ctx, http.MethodPost, w.Ports.Remediator, "/webhook",
			http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}}, strings.NewReader(string(body)))
		if err == nil && status != http.StatusAccepted && status != http.StatusServiceUnavailable {
			err = fmt.Errorf("webhook: status %d: %.200s", status, text)
		}
		return status == http.StatusAccepted, err
	})
}
