package remedy

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// neverHealthy makes a restarted container stay in "starting" for as long as sick
// returns true.
func neverHealthy(d *fakeDocker, id string, sick func() bool) {
	d.containers = func(context.Context) ([]runner.Container, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		list := append([]runner.Container(nil), d.list...)
		for i := range list {
			if list[i].ID == id && sick() {
				list[i].Health = "starting"
			}
		}
		return list, nil
	}
}

// TestVerificationHoldsNobody is a target that never gets healthy: others are
// restarted and pruned meanwhile, and what is to be done to itself waits for it.
func TestVerificationHoldsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFake(slot("ci-1", ActionRestart, ActionBackoff), slot("ci-2", ActionRestart))
		neverHealthy(d, "id-ci-1", func() bool { return true })
		r, _, _ := start(t, d, nil)
		ready(t, r)
		send(t, r, alertOf(retryLoop, ActionRestart, "runner", "ci-1"))
		elapse(time.Second)
		send(t, r,
			alertOf(storm, ActionBackoff, "runner", "ci-1"),
			alertOf("A", ActionRestart, "runner", "ci-2"),
			alertOf(diskLow, ActionPrune))
		elapse(time.Second)
		want := []string{"terminate id-ci-1", "start id-ci-1", "terminate id-ci-2", "start id-ci-2", "prune cache"}
		if diff := cmp.Diff(want, d.done()); diff != "" {
			t.Error("meanwhile:", diff)
		}
		if got := r.Status().Queue; got != 1 {
			t.Errorf("%d alerts wait, want the storm", got)
		}
		elapse(3 * time.Minute)
		if diff := cmp.Diff(append(want, "terminate id-ci-1"), d.done()); diff != "" {
			t.Error("after the verification:", diff)
		}
		if got := r.Status().Queue; got != 0 {
			t.Errorf("%d alerts wait, want none", got)
		}
	})
}

// TestStopInTheMiddle is SIGTERM while an action goes on: the program ends before
// Docker would kill it, however many steps are left.
func TestStopInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFake(slot("ci-1", ActionRestart))
		d.stubborn["id-ci-1"] = true
		neverHealthy(d, "id-ci-1", func() bool { return true })
		r, _, stop := start(t, d, nil)
		ready(t, r)
		send(t, r, alertOf("A", ActionRestart, "runner", "ci-1"))
		elapse(25 * time.Second) // the grace is over in 5 s, the verification begins then
		began := time.Now()
		stop()
		if took := time.Since(began); took > shutdownGrace+time.Second {
			t.Errorf("ended after %s", took)
		}
		if diff := cmp.Diff([]string{"restart ci-1 running"}, outcomes(r)); diff != "" {
			t.Error(diff)
		}
	})
}

// TestRestartsInVain is a database that recovers slowly while its alert stands:
// each restart that did not help makes the next one wait twice as long, until one
// helps.
func TestRestartsInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFake(runner.Container{ID: "db", Name: "db", Role: runner.RoleService, Heal: []string{ActionRestart}, State: "running", Health: "unhealthy"})
		sick := true
		neverHealthy(d, "db", func() bool { return sick })
		r, _, _ := start(t, d, nil)
		ready(t, r)
		restarts := func(length time.Duration) int {
			before := len(d.done())
			for range int(length / time.Minute) {
				send(t, r, alertOf("A", ActionRestart, "container", "db"))
				elapse(time.Minute)
			}
			return len(d.done()) - before
		}
		if got := restarts(3 * time.Hour); got < 6 || got > 8 { // with pauses of 4, 8, 16, 32, 60 min
			t.Errorf("%d restarts in three hours, want about 7", got)
		}
		sick = false
		restarts(time.Hour + 5*time.Minute) // one that helps
		if got := restarts(10 * time.Minute); got < 3 {
			t.Errorf("%d restarts in ten minutes after one that helped, want one each 2 m", got)
		}
	})
}
