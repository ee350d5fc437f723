package remedy

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/prometheus/alertmanager/template"
)

// Bounds of what is remembered of alerts that fire. Alertmanager repeats one that stands each minute, and says when it is
// over; one that is not heard of for so long was lost on the way.
const (
	maxFiring    = 500
	firingMaxAge = time.Hour
)

// Firing is an alert that Alertmanager has reported and not taken back. It is for people to look at: nothing is decided
// by it, and it is not on disk.
type Firing struct {
	Alert
	// Heard is when it was last reported.
	Heard time.Time `json:"heard"`
	// Outcome and Reason are the latest answer to it, if there is one.
	Outcome Outcome `json:"outcome,omitempty"`
	Reason  string  `json:"reason,omitempty"`
}

// hear notes what the alerts of a payload say about what fires. The heartbeat is no alert to look at.
func (r *Remediator) hear(alerts []template.Alert, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.firing, func(_ string, f Firing) bool { return now.Sub(f.Heard) > firingMaxAge })
	for _, in := range alerts {
		key := clean(in.Fingerprint, maxFingerprint)
		_, known := r.firing[key]
		switch {
		case in.Status != statusFiring:
			delete(r.firing, key)
		case in.Labels[labelAlertName] == AlertWatchdog, !known && len(r.firing) >= maxFiring:
		default:
			r.firing[key] = Firing{Alert: newAlert(in, now), Heard: now}
		}
	}
}

// Firing returns what fires, the newest first, each with the latest answer to it.
func (r *Remediator) Firing() []Firing {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	latest := map[string]Record{}
	for _, rec := range r.state.history(maxRecords + maxRefusals) { // the newest first
		if _, ok := latest[rec.Alert.Fingerprint]; !ok {
			latest[rec.Alert.Fingerprint] = rec
		}
	}
	out := make([]Firing, 0, len(r.firing))
	for key, f := range r.firing {
		if now.Sub(f.Heard) > firingMaxAge {
			continue
		}
		if rec, ok := latest[key]; ok && !rec.at().Before(f.StartsAt) {
			f.Outcome, f.Reason = rec.Outcome, rec.Reason
		}
		out = append(out, f)
	}
	slices.SortFunc(out, func(a, b Firing) int {
		return cmp.Or(b.StartsAt.Compare(a.StartsAt), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return out
}
