package httpapi

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/template"

	"github.com/blueguy23/ghostrunner/internal/remedy"
	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
)

// message is Alertmanager's webhook payload, version 4 (prometheus/alertmanager
// notify/webhook/webhook.go, type Message). Only the template package is imported for it: the
// package that has Message pulls in 300 others. Unknown fields are ignored.
type message struct {
	*template.Data

	Version         string `json:"version"`
	TruncatedAlerts uint64 `json:"truncatedAlerts"`
}

// Statuses of an alert.
const (
	statusFiring   = "firing"
	statusResolved = "resolved"
)

// Bounds of what is kept of an alert.
const (
	maxLabels      = 32
	maxLabelName   = 128
	maxLabelValue  = 256
	maxAnnotation  = 512
	maxFingerprint = 64
)

// first are the labels that are kept even if there are too many.
var first = append([]string{"alertname", "severity", "layer", "host"}, remedy.Labels...)

// notices returns the alerts of a message, bounded.
func (m *message) notices() []remedy.Notice {
	now := time.Now()
	out := make([]remedy.Notice, len(m.Alerts))
	for i, a := range m.Alerts {
		out[i] = remedy.Notice{Alert: keep(a, now), Resolved: a.Status != statusFiring}
	}
	return out
}

// keep keeps of an alert what is needed, bounded. The labels that mean something come first; of the
// others as many as fit, in order of their names.
func keep(in template.Alert, now time.Time) journal.Alert {
	out := journal.Alert{
		Fingerprint: journal.Clean(in.Fingerprint, maxFingerprint),
		StartsAt:    in.StartsAt,
		Labels:      make(map[string]string, min(len(in.Labels), maxLabels)),
		Summary:     journal.Clean(in.Annotations["summary"], maxAnnotation),
		Received:    now,
	}
	names := slices.Collect(maps.Keys(in.Labels))
	if len(names) > maxLabels {
		slices.Sort(names)
		names = append(slices.Clone(first), names...)
	}
	for _, name := range names {
		if v, ok := in.Labels[name]; ok && len(out.Labels) < maxLabels {
			out.Labels[journal.Clean(name, maxLabelName)] = journal.Clean(v, maxLabelValue)
		}
	}
	return out
}

// decode reads one payload. The error names the field that is wrong.
func decode(body io.Reader) (*message, error) {
	m := &message{Data: &template.Data{}}
	dec := json.NewDecoder(body)
	if err := dec.Decode(m); err != nil {
		return nil, payloadError(err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		if err != nil {
			return nil, payloadError(err)
		}
		return nil, errors.New("body: more than one JSON value")
	}
	if m.Data == nil {
		return nil, errors.New("alerts: missing")
	}
	if m.Version != "4" {
		return nil, fmt.Errorf("version: is %q, want \"4\"", journal.Clean(m.Version, 16))
	}
	if m.Alerts == nil {
		return nil, errors.New("alerts: missing")
	}
	for i, a := range m.Alerts {
		switch {
		case a.Status != statusFiring && a.Status != statusResolved:
			return nil, fmt.Errorf("alerts[%d].status: is %q, want \"firing\" or \"resolved\"", i, journal.Clean(a.Status, 32))
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

// payloadError says where a payload is wrong.
func payloadError(err error) error {
	typ, wrongType := errors.AsType[*json.UnmarshalTypeError](err)
	syntax, noJSON := errors.AsType[*json.SyntaxError](err)
	switch {
	case wrongType:
		return fmt.Errorf("%s: a JSON %s does not fit there",
			journal.Clean(cmp.Or(strings.TrimPrefix(typ.Field, "Data."), "body"), 128), journal.Clean(typ.Value, 64))
	case noJSON:
		return fmt.Errorf("body: not JSON at byte %d: %w", syntax.Offset, err)
	case errors.Is(err, io.EOF):
		return errors.New("body: empty")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("body: JSON ends too early")
	}
	if _, ok := errors.AsType[*time.ParseError](err); ok {
		return fmt.Errorf("alerts[].startsAt or endsAt: %s", journal.Clean(err.Error(), 160))
	}
	return fmt.Errorf("body: %w", err)
}
