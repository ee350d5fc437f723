package remedy

import (
	"cmp"
	"context"
	"fmt"
	"time"
)

// Nobody asks for an action while Prometheus, Alertmanager or the way from them to here is broken, and they may be the very
// thing that needs a restart. So when the heartbeat has been silent for long, what Docker itself calls unhealthy is asked
// for by the remediator, until the heartbeat is back: as an alert like any other, with the same guards and journal.

const (
	// AlertFallback is the name of such an alert.
	AlertFallback = "GhostrunnerFallback"
	// fallbackInterval is the time between two looks.
	fallbackInterval = 10 * time.Second
	// fallbackRepeat is the time between two alerts about a container that stays unhealthy, as Alertmanager's.
	fallbackRepeat = time.Minute
)

// sick is a container that was found unhealthy while nobody else could say so.
type sick struct {
	since, told time.Time
}

// fallBack watches the heartbeat until ctx ends, and stands in for what has fallen silent.
func (r *Remediator) fallBack(ctx context.Context) {
	found := map[string]sick{}
	for sleep(ctx, fallbackInterval) {
		if !r.silence() {
			clear(found)
			continue
		}
		list, err := r.containers.recent(ctx)
		if err != nil {
			continue // that Docker is gone is said by the keeper
		}
		now, still := time.Now(), map[string]sick{}
		for _, c := range list {
			if c.Health != "unhealthy" || !c.Running() || !c.Allows(ActionRestart) {
				continue
			}
			s, known := found[c.ID]
			if !known {
				s.since = now
			}
			if now.Sub(s.told) >= fallbackRepeat && r.enqueue(ctx, []Alert{fallbackAlert(c, s.since, now)}) == nil {
				s.told = now
			}
			still[c.ID] = s
		}
		found = still
	}
}

// silence reports whether the pipeline is silent, and logs when that changes.
func (r *Remediator) silence() bool {
	now := time.Now()
	r.mu.Lock()
	err := r.silentAt(now)
	changed := r.silent != (err != nil)
	r.silent = err != nil
	r.mu.Unlock()
	switch {
	case changed && err != nil:
		r.log.Error("The alert pipeline is silent: unhealthy containers are restarted without it", "err", err)
	case changed:
		r.log.Info("The alert pipeline is heard again")
	}
	return err != nil
}

// silentAt says that the heartbeat has not come for too long, nil if it has. Under mu.
func (r *Remediator) silentAt(now time.Time) error {
	last := r.state.heartbeat
	if last.IsZero() {
		last = r.began
	}
	if ago := now.Sub(last); ago > r.opts.HeartbeatTimeout {
		return fmt.Errorf("no alert %s came for %s: Prometheus or Alertmanager is down, or may not reach this program", AlertWatchdog, ago.Round(time.Second))
	}
	return nil
}

// fallbackAlert is what Alertmanager would have sent.
func fallbackAlert(c Container, since, now time.Time) Alert {
	a := Alert{
		Fingerprint: "fallback/" + c.ID[:min(len(c.ID), 12)], StartsAt: since, Received: now, Fallback: true,
		Labels: map[string]string{
			labelAlertName: AlertFallback, labelRemediation: ActionRestart, labelContainer: c.Name,
			"severity": cmp.Or(map[string]string{RoleService: "critical"}[c.Role], "warning"), "layer": "pipeline",
		},
		Summary: "Docker calls the container unhealthy, and the alert pipeline, which should say so, is silent.",
	}
	return a
}
