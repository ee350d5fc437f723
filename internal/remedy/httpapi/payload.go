package httpapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/prometheus/alertmanager/template"

	"github.com/blueguy23/ghostrunner/internal/remedy"
	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// message is Alertmanager's webhook payload, version 4 (prometheus/alertmanager
// notify/webhook/webhook.go, type Message). Only the template package is imported for it: the
// package that has Message pulls in 300 others. Unknown fields are ignored.
type message struct {
	*template.Data

	Version         string `json:"version"`
	TruncatedAlerts uint64 `json:"truncatedAlerts"`
}

const (
	statusFiring   = "firing"
	statusResolved = "resolved"
)

// Bounds of what is kept of an alert, in bytes.
const (
	maxLabelValue  = 128
	maxAnnotation  = 256
	maxFingerprint = 64
)

var kept = append([]string{"alertname", "severity", "layer", "host"}, remedy.Labels...)

func (m *message) notices() []remedy.Notice {
	now := time.Now()
	out := make([]remedy.Notice, len(m.Alerts))
	for i, a := range m.Alerts {
		out[i] = remedy.Notice{Alert: keep(a, now), Resolved: a.Status != statusFiring}
	}
	return out
}

// keep keeps of an alert what is needed, bounded.
func keep(in template.Alert, now time.Time) journal.Alert {
	out := journal.Alert{
		Fingerprint: runner.Printable(in.Fingerprint, maxFingerprint),
		StartsAt:    in.StartsAt,
		Labels:      make(map[string]string, len(kept)),
		Summary:     runner.Printable(in.Annotations["summary"], maxAnnotation),
		Received:    now,
	}
	for _, name := range kept {
		if v, ok := in.Labels[name]; ok {
			out.Labels[name] = runner.Printable(v, maxLabelValue)
		}
	}
	return out
}

// decode reads one payload. The error names the field that is wrong.
func decode(body io.Reader) (*message, error) {
	m := &message{Data: &template.Data{}}
	dec := json.NewDecoder(body)
	err := dec.Decode(m)
	if err == nil {
		switch _, err = dec.Token(); {
		case err == nil:
			err = errors.New("more than one JSON value")
		case errors.Is(err, io.EOF):
			err = nil
		}
	}
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, err
	}
	if err != nil {
		return nil, errors.New(runner.Printable("body: not the JSON of a webhook: "+err.Error(), 160)) // it may quote the payload
	}
	if m.Version != "4" {
		return nil, fmt.Errorf("version: is %q, want \"4\"", runner.Printable(m.Version, 16))
	}
	if m.Data == nil || m.Alerts == nil {
		return nil, errors.New("alerts: missing")
	}
	for i, a := range m.Alerts {
		switch {
		case a.Status != statusFiring && a.Status != statusResolved:
			return nil, fmt.Errorf("alerts[%d].status: is %q, want \"firing\" or \"resolved\"", i, runner.Printable(a.Status, 32))
		case len(a.Labels) == 0:
			return nil, fmt.Errorf("alerts[%d].labels: missing", i)
		case a.Fingerprint == "":
			return nil, fmt.Errorf("alerts[%d].fingerprint: missing", i)
		case len(a.Fingerprint) > maxFingerprint:
			return nil, fmt.Errorf("alerts[%d].fingerprint: longer than %d bytes", i, maxFingerprint)
		case a.StartsAt.IsZero():
			return nil, fmt.Errorf("alerts[%d].startsAt: missing", i)
		case a.StartsAt.Year() < 0 || a.StartsAt.Year() > 9999:
			return nil, fmt.Errorf("alerts[%d].startsAt: year out of range", i)
		}
	}
	return m, nil
}
