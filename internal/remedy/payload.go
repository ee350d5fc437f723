package remedy

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/prometheus/alertmanager/template"
)

// Message is Alertmanager's webhook payload, version 4
// (prometheus/alertmanager notify/webhook/webhook.go, type Message). Only the
// template package is imported for it: the package that has Message pulls in 300
// others. Unknown fields are ignored.
type Message struct {
	*template.Data

	Version         string `json:"version"`
	GroupKey        string `json:"groupKey"`
	TruncatedAlerts uint64 `json:"truncatedAlerts"`
}

// Statuses of an alert.
const (
	statusFiring   = "firing"
	statusResolved = "resolved"
)

// decode reads one payload. The error names the field that is wrong.
func decode(body io.Reader) (*Message, error) {
	m := &Message{Data: &template.Data{}}
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
		return nil, fmt.Errorf("version: is %q, want \"4\"", clean(m.Version, 16))
	}
	if m.Alerts == nil {
		return nil, errors.New("alerts: missing")
	}
	for i, a := range m.Alerts {
		switch {
		case a.Status != statusFiring && a.Status != statusResolved:
			return nil, fmt.Errorf("alerts[%d].status: is %q, want \"firing\" or \"resolved\"", i, clean(a.Status, 32))
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

// payloadError says where a payload is wrong, in the words of the payload.
func payloadError(err error) error {
	if typ, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		field := strings.TrimPrefix(typ.Field, "Data.")
		if field == "" {
			field = "body"
		}
		return fmt.Errorf("%s: a JSON %s does not fit there", clean(field, 128), clean(typ.Value, 64))
	}
	if syn, ok := errors.AsType[*json.SyntaxError](err); ok {
		return fmt.Errorf("body: not JSON at byte %d: %s", syn.Offset, syn.Error())
	}
	if _, ok := errors.AsType[*time.ParseError](err); ok {
		return fmt.Errorf("alerts[].startsAt or endsAt: %s", clean(err.Error(), 160))
	}
	if errors.Is(err, io.EOF) {
		return errors.New("body: empty")
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("body: JSON ends too early")
	}
	return fmt.Errorf("body: %w", err)
}
