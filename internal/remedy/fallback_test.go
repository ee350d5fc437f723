package remedy

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// TestFallback is a pipeline that falls silent: what Docker calls unhealthy and the labels allow is
// restarted all the same, with the same guards, until the heartbeat is back.
func TestFallback(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sick := func(name, role string, heal ...string) runner.Container {
			return runner.Container{ID: "id-" + name, Name: name, Role: role, Heal: heal, State: "running", Health: "unhealthy"}
		}
		busy, idle := sick("busy", runner.RoleRunner, ActionRestart), sick("idle", runner.RoleRunner, ActionRestart)
		busy.Runner, idle.Runner = "ci-1", "ci-2"
		well, paused := sick("well", runner.RoleService, ActionRestart), sick("down", runner.RoleService, ActionRestart)
		well.Health, paused.State = "healthy", "exited"
		d := newFake(busy, idle, well, paused, sick("prometheus", runner.RoleService, ActionRestart), sick("closed", runner.RoleService), sick("backoff", runner.RoleService, ActionBackoff))
		d.busy("id-busy", true)
		path := t.TempDir() + "/journal.db"
		r, reg, _ := start(t, d, func(o *Options) { o.JournalPath, o.HeartbeatTimeout = path, 5*time.Minute })
		ready(t, r)
		beat := func() { send(t, r, alertOf(watchdog, "")) }
		silent := func() bool {
			err := r.Ready()
			if want := "# HELP ghostrunner_remediator_fallback_active 1 while no heartbeat comes and unhealthy containers are restarted without it.\n# TYPE ghostrunner_remediator_fallback_active gauge\nghostrunner_remediator_fallback_active " +
				map[bool]string{true: "1\n", false: "0\n"}[err != nil]; testutil.GatherAndCompare(reg, strings.NewReader(want), "ghostrunner_remediator_fallback_active") != nil {
				t.Errorf("the metric does not say what Ready says: %v", err)
			}
			if err != nil && !strings.Contains(err.Error(), "heartbeat") {
				t.Error(err)
			}
			return err != nil
		}
		for range 20 { // a heartbeat each minute, and once two that are lost
			beat()
			elapse(time.Minute)
		}
		elapse(3 * time.Minute)
		if silent() || len(d.done()) > 0 {
			t.Fatalf("while the pipeline is heard: silent %t, did %v", silent(), d.done())
		}
		elapse(time.Minute + 2*fallbackInterval)
		if !silent() {
			t.Error("silent for five minutes, and ready")
		}
		want := []string{"restart id-prometheus -1ns", "start id-idle", "terminate id-idle"}
		got := d.done()
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if n := r.store.State().Fires["ci-2"]; n != 0 {
			t.Errorf("%d watchdog fires: a fallback is none", n)
		}
		for _, rec := range attempts(r, 10) {
			if rec.Alert.Name() != alertFallback || rec.Target == "ci-1" && rec.Reason != Busy {
				t.Errorf("%s %s %s %+v", rec.Target, rec.Outcome, rec.Reason, rec.Alert)
			}
		}
		elapse(10 * time.Minute) // the others are well again; the busy one is asked for again and again
		if diff := cmp.Diff(want, got); diff != "" || len(d.done()) != 3 {
			t.Errorf("later: %v", d.done())
		}
		d.busy("id-busy", false)
		elapse(2 * fallbackInterval)
		if len(d.done()) != 5 {
			t.Errorf("after the job: %v", d.done())
		}
		beat()
		elapse(fallbackInterval)
		d.set("id-prometheus", func(c *runner.Container) { c.Health = "unhealthy" })
		elapse(4 * time.Minute)
		if silent() || len(d.done()) != 5 {
			t.Errorf("heard again: silent %t, did %v", silent(), d.done())
		}
	})
}
