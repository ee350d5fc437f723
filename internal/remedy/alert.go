package remedy

import (
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/prometheus/alertmanager/template"
)

// Labels of an alert that mean something here.
const (
	labelAlertName   = "alertname"
	labelRemediation = "remediation"
	labelRunner      = "runner"
	labelContainer   = "container"

	// AlertWatchdog always fires; its arrival proves that the pipeline works.
	AlertWatchdog = "GhostrunnerWatchdog"
	// AlertRetryLoop makes a restart a watchdog fire.
	AlertRetryLoop = "GhostrunnerRunnerRetryLoop"
)

// Bounds of what is kept of an alert.
const (
	maxLabels      = 32
	maxLabelName   = 128
	maxLabelValue  = 256
	maxAnnotation  = 512
	maxFingerprint = 64
)

// Alert is an alert as it is kept: bounded, and free of control characters.
type Alert struct {
	Fingerprint string            `json:"fingerprint"`
	StartsAt    time.Time         `json:"startsAt"`
	Labels      map[string]string `json:"labels"`
	Summary     string            `json:"summary,omitempty"`
	Received    time.Time         `json:"received"`
	// Fallback says that nobody sent it: the pipeline is silent, and Docker calls the container unhealthy.
	Fallback bool `json:"fallback,omitempty"`
}

// Name is the alert's name, "" if it has none.
func (a Alert) Name() string { return a.Labels[labelAlertName] }

// Remediation is the name of the action that the alert asks for.
func (a Alert) Remediation() string { return a.Labels[labelRemediation] }

// key identifies one firing of one alert, for one action, whoever sends it.
func (a Alert) key() string {
	return a.Fingerprint + "|" + a.StartsAt.UTC().Format(time.RFC3339Nano) + "|" + a.Remediation()
}

// newAlert keeps of an alert what is needed, bounded. The labels that mean
// something come first; of the others as many as fit, in order of their names.
func newAlert(in template.Alert, now time.Time) Alert {
	out := Alert{
		Fingerprint: clean(in.Fingerprint, maxFingerprint),
		StartsAt:    in.StartsAt,
		Labels:      make(map[string]string, min(len(in.Labels), maxLabels)),
		Summary:     clean(in.Annotations["summary"], maxAnnotation),
		Received:    now,
	}
	for _, name := range []string{labelAlertName, labelRemediation, labelRunner, labelContainer, "severity", "layer", "host"} {
		if v, ok := in.Labels[name]; ok {
			out.Labels[name] = clean(v, maxLabelValue)
		}
	}
	if len(in.Labels) <= maxLabels {
		for name, v := range in.Labels {
			out.Labels[clean(name, maxLabelName)] = clean(v, maxLabelValue)
		}
		return out
	}
	for _, name := range slices.Sorted(maps.Keys(in.Labels)) {
		if len(out.Labels) >= maxLabels {
			break
		}
		out.Labels[clean(name, maxLabelName)] = clean(in.Labels[name], maxLabelValue)
	}
	return out
}

// clean bounds s to limit bytes and replaces what could deceive a reader of a
// terminal, a log or a page: control and format characters (which include the
// ones that turn the direction of writing), and invalid UTF-8. A string that was
// changed equals no name of a container, because those are ASCII.
func clean(s string, limit int) string {
	const ellipsis = "…"
	if plain(s) && len(s) <= limit {
		return s
	}
	cut := len(s) > limit
	if cut {
		s = s[:limit] // perhaps in the middle of a character, which is mended below
	}
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.In(r, unicode.Cf, unicode.Zl, unicode.Zp) {
			return utf8.RuneError
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if !cut && len(s) <= limit {
		return s
	}
	for len(s) > limit-len(ellipsis) {
		_, n := utf8.DecodeLastRuneInString(s)
		s = s[:len(s)-n]
	}
	return s + ellipsis
}

// plain reports whether s is printable ASCII.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
