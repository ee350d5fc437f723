package remedy

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// TestNextStep is the table of the reconciler: what is wanted, how far it came, what is observed.
func TestNextStep(t *testing.T) {
	now := journal.Instant{Time: time.Now(), Boot: uptime()}
	ago := func(d time.Duration) journal.Instant {
		return journal.Instant{Time: now.Time.Add(-d), Boot: journal.BootTime{Boot: now.Boot.Boot, Up: now.Boot.Up - d}}
	}
	for _, c := range []struct {
		name   string
		length time.Duration // of a back-off that began five minutes ago
		phase  journal.Phase
		role   string
		state  string
		up     time.Duration
		want   step
	}{
		{"not begun", 0, journal.PhaseIntent, runner.RoleRunner, "running", time.Hour, stepTakeDown},
		{"not begun, paused", 0, journal.PhaseIntent, runner.RoleRunner, "paused", time.Hour, stepTakeDown},
		{"was sent SIGTERM", 0, journal.PhaseTerminated, runner.RoleRunner, "running", time.Hour, stepTakeDown},
		{"was sent SIGTERM, age unknown", 0, journal.PhaseTerminated, runner.RoleRunner, "running", 0, stepTakeDown},
		{"exited", 0, journal.PhaseTerminated, runner.RoleRunner, "exited", 0, stepStart},
		{"was started before the phase was written", 0, journal.PhaseTerminated, runner.RoleRunner, "running", time.Minute, stepFinish},
		{"runs again", 0, journal.PhaseDown, runner.RoleRunner, "running", time.Hour, stepFinish},
		{"is restarted by its policy", 0, journal.PhaseIntent, runner.RoleRunner, "restarting", 0, stepWait},
		{"back-off not begun", time.Hour, journal.PhaseIntent, runner.RoleRunner, "running", time.Hour, stepTakeDown},
		{"back-off has begun", time.Hour, journal.PhaseTerminated, runner.RoleRunner, "exited", 0, stepHold},
		{"back-off is over", time.Minute, journal.PhaseDown, runner.RoleRunner, "exited", 0, stepStart},
		{"a person started it during the back-off", time.Hour, journal.PhaseDown, runner.RoleRunner, "running", time.Minute, stepHold},
		{"service not restarted", 0, journal.PhaseIntent, runner.RoleService, "running", time.Hour, stepTakeDown},
		{"service restarted by Docker", 0, journal.PhaseTerminated, runner.RoleService, "running", time.Hour, stepFinish},
		{"service stopped and not started", 0, journal.PhaseTerminated, runner.RoleService, "exited", 0, stepStart},
	} {
		p := journal.PendingStart{Instant: ago(5 * time.Minute), Phase: c.phase, Length: c.length}
		if got := next(p, runner.Container{Role: c.role, State: c.state, Up: c.up}, now); got != c.want {
			t.Errorf("%s: step %d, want %d", c.name, got, c.want)
		}
	}
}

// TestRebooted is a machine that was rebooted between the intent and the deed. That has started the
// runner again: no SIGTERM is sent, regardless of the wall clock.
func TestRebooted(t *testing.T) {
	for _, jump := range []time.Duration{0, 9 * time.Hour, -9 * time.Hour} {
		t.Run(jump.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				disk := newMemory()
				before := journal.Instant{Time: time.Now().Add(-jump), Boot: journal.BootTime{Boot: "the boot before", Up: time.Hour}}
				store := disk.store(t)
				err := store.Update(func(tx *journal.Tx) error {
					rec := tx.PutRecord(journal.Record{Action: ActionRestart, Target: "ci-1", Outcome: journal.Running, Began: before.Time})
					tx.PutStart(journal.PendingStart{
						Instant: before, Target: "ci-1", ID: "id-ci-1", Action: ActionRestart, Record: rec.ID, Phase: journal.PhaseIntent,
					})
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				c := slot("ci-1", ActionRestart)
				c.Up = time.Minute
				d := newFake(c)
				r, _, stop := start(t, d, func(o *Options) { o.OpenDisk = disk.open })
				time.Sleep(5 * time.Minute)
				stop()
				if len(d.calls) > 0 || len(r.Status().Unfinished) > 0 {
					t.Errorf("calls %v, unfinished %v", d.calls, r.Status().Unfinished)
				}
				if diff := cmp.Diff([]string{"restart ci-1 completed"}, outcomes(r)); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

// TestBackoffKeepsItsTimes: the times that people and rules are shown do not move while nothing is
// set.
func TestBackoffKeepsItsTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, _, _ := start(t, newFake(slot("ci-1", ActionBackoff)), nil)
		ready(t, r)
		send(t, r, alertOf(storm, ActionBackoff, "runner", "ci-1"))
		elapse(time.Minute)
		before := r.Breakers()[0]
		elapse(time.Minute)
		if after := r.Breakers()[0]; after.State != journal.Open || after.Until.Sub(before.Until).Abs() > time.Second {
			t.Errorf("%+v, was %+v", after, before)
		}
	})
}
