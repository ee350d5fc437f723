package remedy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Bounds of what is remembered of alerts that fire. Alertmanager repeats one that stands each
// minute, and says when it is over; one that it has not repeated for so long was lost on the way.
const (
	maxFiring    = 500
	firingMaxAge = time.Hour
)

const (
	// alertFallback is the name of alerts that are made here, see restartUnhealthy.
	alertFallback = "GhostrunnerFallback"
	// fallbackInterval is the time between two such alerts about one container.
	fallbackInterval = 30 * time.Second
)

var errQueueFull = errors.New("queue is full")

// Notice is an alert as Alertmanager reports it.
type Notice struct {
	journal.Alert

	Resolved bool
}

// Firing is an alert that Alertmanager has reported and not resolved, with the latest answer to it.
// It is for people to look at: nothing is decided by it, and it is not on disk.
type Firing struct {
	journal.Alert

	Heard   time.Time       `json:"heard"` // the last time
	Outcome journal.Outcome `json:"outcome,omitempty"`
	Reason  string          `json:"reason,omitempty"`
}

func (f Firing) lost() bool { return time.Since(f.Heard) > firingMaxAge }

// pipeline is what is known of the way from Prometheus to here.
type pipeline struct {
	timeout time.Duration
	began   time.Time // since when a heartbeat is waited for

	mu        sync.Mutex
	heartbeat time.Time // the last one
	firing    map[string]Firing
}

func (p *pipeline) record(list []Notice) {
	p.mu.Lock()
	defer p.mu.Unlock()
	maps.DeleteFunc(p.firing, func(_ string, f Firing) bool { return f.lost() })
	for _, n := range list {
		_, known := p.firing[n.Fingerprint]
		switch {
		case n.Resolved:
			delete(p.firing, n.Fingerprint)
		case n.Labels[labelHeartbeat] == "true":
			p.heartbeat = time.Now()
		case known || len(p.firing) < maxFiring:
			p.firing[n.Fingerprint] = Firing{Alert: n.Alert, Heard: time.Now()}
		}
	}
}

// silent says that no heartbeat has come for too long, nil if one has.
func (p *pipeline) silent() error {
	if ago := time.Since(cmp.Or(p.lastHeartbeat(), p.began)); ago > p.timeout {
		return fmt.Errorf("no heartbeat came for %s: Prometheus or Alertmanager is down, or cannot reach this program", ago.Round(time.Second))
	}
	return nil
}

func (p *pipeline) lastHeartbeat() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heartbeat
}

// list returns what fires, the newest first. History has the newest first too.
func (p *pipeline) list(history []journal.Record) []Firing {
	p.mu.Lock()
	firing := maps.Clone(p.firing)
	p.mu.Unlock()
	maps.DeleteFunc(firing, func(_ string, f Firing) bool { return f.lost() })
	for _, r := range history {
		f, fires := firing[r.Alert.Fingerprint]
		if fires && f.Outcome == "" && !r.At().Before(f.StartsAt) {
			f.Outcome, f.Reason = r.Outcome, r.Reason
			firing[r.Alert.Fingerprint] = f
		}
	}
	out := slices.AppendSeq([]Firing{}, maps.Values(firing))
	slices.SortFunc(out, func(a, b Firing) int {
		return cmp.Or(b.StartsAt.Compare(a.StartsAt), cmp.Compare(a.Fingerprint, b.Fingerprint))
	})
	return out
}

// Accept puts the alerts that ask for an action on disk and returns how many these were. All others
// are only counted; resolved alerts never start anything. missing is how many alerts Alertmanager
// left out.
func (r *Remediator) Accept(list []Notice, missing uint64) (int, error) {
	var alerts []journal.Alert
	firing := 0
	for _, n := range list {
		if n.Resolved {
			continue
		}
		firing++
		if n.Remediation() != "" {
			alerts = append(alerts, n.Alert)
		}
	}
	if err := r.enqueue(alerts); err != nil {
		return 0, err
	}
	r.pipeline.record(list)
	r.metrics.alerts.WithLabelValues("firing").Add(float64(firing))
	r.metrics.alerts.WithLabelValues("resolved").Add(float64(len(list) - firing))
	if missing > 0 {
		r.opts.Logger.Warn("Alertmanager cut the payload: set max_alerts to 0 for this receiver", "missing", missing)
	}
	return len(alerts), nil
}

func (r *Remediator) enqueue(alerts []journal.Alert) error {
	if len(alerts) == 0 {
		return nil
	}
	err := r.store.Update(func(t *journal.Tx) error {
		if t.State().Queue+len(alerts) > r.opts.QueueLimit {
			return errQueueFull
		}
		for _, a := range alerts {
			t.Enqueue(a)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r.opts.Failpoint("accepted")
	r.wakeUp()
	return nil
}

// restartUnhealthy asks for restarts while the pipeline is silent, until ctx ends. Nothing else
// does then, and Prometheus or Alertmanager may be the very thing that needs one: so a restart of
// what Docker itself calls unhealthy is asked for here, as an alert like any other, with the same
// guards and journal.
func (r *Remediator) restartUnhealthy(ctx context.Context) {
	since := map[string]time.Time{} // by id of an unhealthy container
	wasSilent := false
	for sleep(ctx, r.opts.scale(fallbackInterval)) {
		silent := r.pipeline.silent()
		if silent != nil && !wasSilent {
			r.opts.Logger.Error("The alert pipeline is silent: unhealthy containers are restarted without it", "err", silent)
		} else if silent == nil && wasSilent {
			r.opts.Logger.Info("A heartbeat has come: the alert pipeline works again")
		}
		wasSilent = silent != nil
		list, err := r.containers.recent(ctx)
		if silent == nil || err != nil { // observe logs that Docker is gone
			continue
		}
		still := map[string]time.Time{}
		for _, c := range list {
			if c.Health == runner.HealthUnhealthy && c.Running() && c.Allows(ActionRestart) {
				still[c.ID] = cmp.Or(since[c.ID], time.Now())
				alert := journal.Alert{
					Fingerprint: "fallback/" + c.ID[:min(len(c.ID), 12)], StartsAt: still[c.ID], Received: time.Now(),
					Labels: map[string]string{
						"alertname": alertFallback, labelRemediation: ActionRestart, labelContainer: c.Name, labelRecheck: recheckHealth,
					},
					Summary: "Docker calls the container unhealthy, and the alert pipeline is silent.",
				}
				_ = r.enqueue([]journal.Alert{alert}) // asked for again at the next look
			}
		}
		since = still
	}
}
