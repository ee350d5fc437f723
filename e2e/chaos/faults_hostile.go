package main

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// hostileFaults are webhooks that anyone with the token could send.
func (w *world) hostileFaults() []scenario.Fault {
	healed := both(w.holds(`ghostrunner_remediator_queue_length == 0`), w.runnersOnline())
	return []scenario.Fault{
		{
			Name: "alert storm", Description: "a hundred payloads of a hundred alerts with unknown targets, sent twice",
			Inject: func(ctx context.Context) error {
				for n := range 200 {
					var alerts []map[string]string
					for i := range 100 {
						alerts = append(alerts, restartAlert("runner", fmt.Sprintf("ghost-%d-%d", n%100, i)))
					}
					if err := w.post(ctx, alerts...); err != nil {
						return err
					}
				}
				return nil
			},
			Rises:  `sum(ghostrunner_remediator_actions_refused_total{reason="no_target"})`,
			Healed: healed,
		}, {
			Name: "hostile labels", Description: "alerts name foreign containers, parts of names, paths, the remediator itself, and a foreign host",
			Inject: func(ctx context.Context) error {
				var alerts []map[string]string
				for _, target := range []string{
					"foreign-0", "ci-runner", "ci-runner-", ".*", "", "/", "../" + w.Container(one), w.service("remediator"), w.Container(one) + "\x00", "'; DROP TABLE",
					"<script>alert(1)</script>", "\x1b[2J", strings.Repeat("x", 1<<16),
				} {
					alerts = append(alerts, restartAlert("container", target), restartAlert("runner", target))
				}
				return w.post(ctx, append(alerts,
					map[string]string{"alertname": "X", "remediation": "remove", "container": "foreign-0"},
					map[string]string{"alertname": "X", "remediation": "backoff", "runner": "foreign-0"},
				)...)
			},
			Rises:  `sum(ghostrunner_remediator_actions_refused_total)`,
			Healed: healed,
		},
	}
}

// restartAlert has the labels of an alert that asks for a restart.
func restartAlert(label, target string) map[string]string {
	return map[string]string{"alertname": "GhostrunnerRunnerUnhealthy", "remediation": "restart", "recheck": "health", label: target}
}

// post sends alerts as Alertmanager does, which retries when the queue is full.
func (w *world) post(ctx context.Context, alerts ...map[string]string) error {
	body := stack.Payload(time.Now(), alerts...)
	return stack.Await(ctx, "the webhook to be accepted", func(ctx context.Context) (bool, error) {
		status, text, err := w.PostWebhook(ctx, body)
		if err == nil && status != http.StatusAccepted && status != http.StatusServiceUnavailable {
			err = fmt.Errorf("webhook: status %d: %.200s", status, text)
		}
		return status == http.StatusAccepted, err
	})
}
