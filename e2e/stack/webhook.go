package stack

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// The labels of alerts, as the rules set them.

// RetryLoopAlert asks for a restart of a runner that hangs in its retry loop.
func RetryLoopAlert(runner string) map[string]string {
	return map[string]string{
		"alertname": "GhostrunnerRunnerRetryLoop", "severity": "warning", "layer": "runner", "host": "local", "runner": runner,
		"remediation": "restart", "recheck": "online", "counts_as": "watchdog_fire",
	}
}

// UnhealthyAlert asks for a restart of an unhealthy container.
func UnhealthyAlert(container, runner string) map[string]string {
	return map[string]string{
		"alertname": "GhostrunnerRunnerUnhealthy", "severity": "warning", "layer": "runner", "host": "local", "container": container, "runner": runner,
		"remediation": "restart", "recheck": "health",
	}
}

// StormAlert asks for a back-off of a runner.
func StormAlert(runner string) map[string]string {
	return map[string]string{
		"alertname": "GhostrunnerWatchdogStorm", "severity": "critical", "layer": "runner", "host": "local", "runner": runner,
		"remediation": "backoff",
	}
}

// HeartbeatAlert is the one that always fires.
func HeartbeatAlert() map[string]string {
	return map[string]string{"alertname": "GhostrunnerWatchdog", "severity": "none", "layer": "pipeline", "heartbeat": "true"}
}

// Payload is a webhook of Alertmanager, version 4, with firing alerts of these labels. Its size is
// that of real alerts.
func Payload(startsAt time.Time, alerts ...map[string]string) []byte {
	var list []map[string]any
	for _, labels := range alerts {
		sum := sha256.Sum256(fmt.Append(nil, labels)) // fmt sorts the keys
		list = append(list, map[string]any{
			"status": "firing",
			"labels": labels,
			"annotations": map[string]string{
				"summary":     "A runner's container is unhealthy.",
				"description": "Docker's health check of container " + labels["container"] + " has failed three times in a row.",
				"runbook_url": "https://github.com/blueguy23/ghostrunner/blob/main/INCIDENTS.md#ghostrunnerrunnerunhealthy",
			},
			"startsAt": startsAt.UTC(), "endsAt": time.Time{},
			"generatorURL": "http://prometheus:9090/graph?g0.expr=ghostrunner_container_healthy+%3D%3D+0&g0.tab=1",
			"fingerprint":  hex.EncodeToString(sum[:8]),
		})
	}
	body, err := json.Marshal(map[string]any{
		"version": "4", "groupKey": "{}:{}", "truncatedAlerts": 0, "status": "firing", "receiver": "remediator",
		"groupLabels": map[string]string{}, "commonLabels": map[string]string{}, "commonAnnotations": map[string]string{},
		"externalURL": "http://alertmanager:9093", "alerts": list,
	})
	if err != nil {
		panic(err) // strings and times always encode
	}
	return body
}

// PostWebhook sends a body to the remediator with the right token.
func (s *Stack) PostWebhook(ctx context.Context, body []byte) (status int, answer []byte, err error) {
	header, err := s.Authorization(ctx)
	if err != nil {
		return 0, nil, err
	}
	header.Set("Content-Type", "application/json")
	return s.Do(ctx, http.MethodPost, s.Ports.Remediator, "/webhook", header, bytes.NewReader(body))
}

// Authorization is the header with the webhook token.
func (s *Stack) Authorization(ctx context.Context) (http.Header, error) {
	token, err := s.WebhookToken(ctx)
	return http.Header{"Authorization": {"Bearer " + token}}, err
}
