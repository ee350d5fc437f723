package remedy

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// Prometheus and Alertmanager write down by the wall clock when they last did something, and do it again some time after
// that. Once a clock that was ahead has been set back, that moment lies in the future. For as long as the clock had been ahead
// Prometheus then scrapes nothing (its schedule is aligned to the future), drops what its rules record (older than their newest
// sample), and sends nothing about an alert that it had sent, not even that it is over. Alertmanager believes what it heard
// last, repeats nothing, the heartbeat neither, and goes on holding back the healing of runners for a clock that is right
// again (e2e/jump shows all of it). They forget with a restart, if what they keep on disk goes too. So a clock that was set
// back leaves a note for compose/forget.sh, which sees to the disk, and asks for a restart of each container whose label
// ghostrunner.heal says so: as an alert like any other, with the same guards and journal.

const (
	// AlertSetBack is the name of such an alert.
	AlertSetBack = "GhostrunnerClockSetBack"
	// healClock in the label ghostrunner.heal is what asks for it, beside the action restart.
	healClock = "clock"
	// minSetBack is what is waited for rather than cured.
	minSetBack = time.Minute
	// setBackInterval is the time between two looks at the clocks.
	setBackInterval = 2 * time.Second
	// noteFile is the note, beside the journal. What it says differs from note to note.
	noteFile = "set-back"
	// setBackAge is how long it is asked for a restart that is refused.
	setBackAge = time.Hour
)

// setBack is by how much the wall clock was set back between two moments; negative if it was set ahead. After a reboot, and
// without a clock that nobody sets, it is not known, and 0.
func setBack(before, after moment) time.Duration {
	if before.mark.Boot == "" || before.mark.Boot != after.mark.Boot {
		return 0
	}
	return after.mark.Up - before.mark.Up - after.Round(0).Sub(before.Round(0))
}

// watchSetBacks watches the clocks until ctx ends.
func (r *Remediator) watchSetBacks(ctx context.Context) {
	type asked struct {
		alert Alert
		told  time.Time // with a monotonic reading, as all that is compared below
		until time.Time
	}
	open := map[string]asked{} // by container id
	var owed time.Duration     // set back by so much, and Docker has not said yet what is to be restarted
	for last := r.now(); sleep(ctx, setBackInterval); {
		now := r.now()
		by := setBack(last, now)
		last = now
		if by >= minSetBack {
			owed = by
			r.log.Warn("The clock was set back: what waits for the time that it showed is restarted", "by", by)
			if err := r.leaveNote(now, by); err != nil {
				r.log.Warn("No note of it can be left: what they have written down of the future stays", "err", err)
			}
		}
		if owed > 0 {
			if list, err := r.containers.recent(ctx); err == nil { // else the keeper says that Docker is gone
				for _, c := range list {
					if c.Allows(healClock) && c.Running() {
						open[c.ID] = asked{alert: setBackAlert(c, owed, now.Time), until: now.Add(setBackAge)}
					}
				}
				owed = 0
			}
		}
		for id, a := range open {
			switch {
			case r.actedOn(a.alert), now.After(a.until):
				delete(open, id)
			case now.Sub(a.told) >= fallbackRepeat:
				a.alert.Received = now.Time
				if r.enqueue(ctx, []Alert{a.alert}) == nil {
					a.told = now.Time
					open[id] = a
				}
			}
		}
	}
}

// leaveNote tells the programs that are restarted for it that this is a new step.
func (r *Remediator) leaveNote(now moment, by time.Duration) error {
	if r.opts.DryRun {
		return nil
	}
	path := filepath.Join(filepath.Dir(r.opts.JournalPath), noteFile)
	text := fmt.Sprintf("by %s, %s after boot %s\n", by.Round(time.Second), now.mark.Up, now.mark.Boot)
	if err := os.WriteFile(path+".new", []byte(text), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// actedOn reports whether something was done for the alert.
func (r *Remediator) actedOn(a Alert) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.state.done[a.key()]
	return ok
}

func setBackAlert(c Container, by time.Duration, now time.Time) Alert {
	return Alert{
		Fingerprint: "setback/" + c.ID[:min(len(c.ID), 12)], StartsAt: now, Received: now,
		Labels: map[string]string{
			labelAlertName: AlertSetBack, labelRemediation: ActionRestart, labelContainer: c.Name,
			"severity": "critical", "layer": "pipeline",
		},
		Summary: fmt.Sprintf("The clock was set back by %s, and the container waits for the time that it had shown.", by.Round(time.Second)),
	}
}
