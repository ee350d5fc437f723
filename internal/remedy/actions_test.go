package remedy

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// elapse lets time go by in a bubble, and everything that is due then happen.
func elapse(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestRestart(t *testing.T) {
	service := runner.Container{ID: "id-db", Name: "demo-db", Role: runner.RoleService, Heal: []string{ActionRestart}, State: "running", Health: "unhealthy"}
	healthy := slot("ci-1", ActionRestart)
	healthy.Health = "unhealthy"
	cases := []struct {
		name  string
		list  []runner.Container
		world func(d *fakeDocker)
		alert Notice
		wait  time.Duration
		calls []string
		want  []string
		fires float64
	}{
		{name: "leaves by itself", alert: alertOf("A", ActionRestart, "runner", "ci-1"),
			calls: []string{"terminate id-ci-1", "start id-ci-1"}, want: []string{"restart ci-1 completed"}},
		{name: "a fire", alert: alertOf(retryLoop, ActionRestart, "runner", "ci-1"),
			calls: []string{"terminate id-ci-1", "start id-ci-1"}, want: []string{"restart ci-1 completed"}, fires: 1},
		{name: "ignores SIGTERM", world: func(d *fakeDocker) { d.stubborn["id-ci-1"] = true },
			alert: alertOf("A", ActionRestart, "runner", "ci-1"), wait: 35 * time.Second,
			calls: []string{"terminate id-ci-1", "restart id-ci-1 2s"}, want: []string{"restart ci-1 completed"}},
		{name: "waits for health", list: []runner.Container{healthy}, alert: alertOf("A", ActionRestart, "runner", "ci-1"),
			calls: []string{"terminate id-ci-1", "start id-ci-1"}, want: []string{"restart ci-1 completed"}},
		{name: "service", list: []runner.Container{service}, alert: alertOf("A", ActionRestart, "container", "demo-db"),
			calls: []string{"restart id-db -1ns"}, want: []string{"restart demo-db completed"}},
		{name: "was down already", list: []runner.Container{{ID: "id-ci-1", Name: "c", Role: runner.RoleRunner, Runner: "ci-1", Heal: []string{ActionRestart}, State: "exited"}},
			alert: alertOf("A", ActionRestart, "runner", "ci-1"),
			calls: []string{"start id-ci-1"}, want: []string{"restart ci-1 completed"}},
		{name: "start fails at first", world: func(d *fakeDocker) {
			tries := 0
			d.start = func(string) error {
				if tries++; tries < 3 {
					return errors.New("no space left on device")
				}
				return nil
			}
		}, alert: alertOf("A", ActionRestart, "runner", "ci-1"), wait: time.Minute,
			calls: []string{"terminate id-ci-1", "start id-ci-1"}, want: []string{"restart ci-1 failed docker"}},
		{name: "starts slowly", world: func(d *fakeDocker) {
			d.start = func(string) error { time.Sleep(30 * time.Second); return nil }
		}, alert: alertOf("A", ActionRestart, "runner", "ci-1"), wait: time.Minute,
			calls: []string{"terminate id-ci-1", "start id-ci-1"}, want: []string{"restart ci-1 completed"}},
		{name: "SIGTERM fails at first", world: func(d *fakeDocker) {
			tries := 0
			d.terminate = func(string) error {
				if tries++; tries < 3 {
					return errors.New("context deadline exceeded")
				}
				return nil
			}
		}, alert: alertOf("A", ActionRestart, "runner", "ci-1"), wait: time.Minute,
			calls: []string{"terminate id-ci-1", "start id-ci-1"}, want: []string{"restart ci-1 failed docker"}},
		{name: "fails at once, again and again", world: func(d *fakeDocker) {
			began := time.Now()
			d.containers = func(context.Context) ([]runner.Container, error) {
				d.mu.Lock()
				defer d.mu.Unlock()
				list := slices.Clone(d.list)
				if len(d.calls) == 2 && time.Since(began)/(500*time.Millisecond)%2 == 1 {
					list[0].State = "restarting"
				}
				return list, nil
			}
		}, alert: alertOf("A", ActionRestart, "runner", "ci-1"), wait: 4 * time.Minute,
			calls: []string{"terminate id-ci-1", "start id-ci-1"}, want: []string{"restart ci-1 failed not_verified"}},
		{name: "created again meanwhile", world: func(d *fakeDocker) {
			d.start = func(id string) error { d.set(id, func(c *runner.Container) { c.ID = "id-new" }); return nil }
		}, alert: alertOf("A", ActionRestart, "runner", "ci-1"),
			calls: []string{"terminate id-ci-1", "start id-ci-1"}, want: []string{"restart ci-1 failed gone"}},
		{name: "never healthy", list: []runner.Container{healthy}, world: func(d *fakeDocker) {
			d.start = func(id string) error { d.set(id, func(c *runner.Container) { c.Health = "" }); return nil }
			d.containers = func(context.Context) ([]runner.Container, error) {
				d.mu.Lock()
				defer d.mu.Unlock()
				list := slices.Clone(d.list)
				list[0].Health = "starting"
				return list, nil
			}
		}, alert: alertOf("A", ActionRestart, "runner", "ci-1"), wait: 4 * time.Minute,
			calls: []string{"terminate id-ci-1", "start id-ci-1"}, want: []string{"restart ci-1 failed not_verified"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				list := c.list
				if list == nil {
					list = []runner.Container{slot("ci-1", ActionRestart, ActionBackoff)}
				}
				d := newFake(list...)
				if c.world != nil {
					c.world(d)
				}
				r, reg, _ := start(t, d, nil)
				ready(t, r)
				send(t, r, c.alert)
				elapse(time.Second + c.wait)
				if diff := cmp.Diff(c.calls, d.done()); diff != "" {
					t.Error("calls:", diff)
				}
				if diff := cmp.Diff(c.want, outcomes(r)); diff != "" {
					t.Error("history:", diff)
				}
				if left := r.Status().Unfinished; len(left) > 0 {
					t.Errorf("unfinished: %+v", left)
				}
				if c.list == nil {
					want := "# HELP ghostrunner_watchdog_fires_total Restarts ordered because of a retry loop. Survives restarts of the remediator.\n" +
						"# TYPE ghostrunner_watchdog_fires_total counter\nghostrunner_watchdog_fires_total{runner=\"ci-1\"} " + map[float64]string{0: "0", 1: "1"}[c.fires] + "\n"
					if err := testutil.GatherAndCompare(reg, strings.NewReader(want), "ghostrunner_watchdog_fires_total"); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}

// TestJobInTheLastInstant is the race that no guard can close: the job begins
// after the guard looked, and before the signal.
func TestJobInTheLastInstant(t *testing.T) {
	for _, action := range []string{ActionRestart, ActionBackoff} {
		t.Run(action, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newFake(slot("ci-1", ActionRestart, ActionBackoff))
				d.terminate = func(id string) error { d.busy(id, true); return nil }
				r, _, _ := start(t, d, nil)
				ready(t, r)
				send(t, r, alertOf("A", action, "runner", "ci-1"))
				elapse(5 * time.Minute)
				if diff := cmp.Diff([]string{"terminate id-ci-1"}, d.done()); diff != "" {
					t.Error("while the job runs:", diff)
				}
				if diff := cmp.Diff([]string{action + " ci-1 failed busy"}, outcomes(r)); diff != "" {
					t.Error(diff)
				}
				elapse(2 * time.Hour) // a long job
				if got := d.state("id-ci-1"); got != "running" || len(d.done()) != 1 {
					t.Fatalf("the job was cut: %s %v", got, d.done())
				}
				// The job is over, and the supervisor exits.
				d.busy("id-ci-1", false)
				d.set("id-ci-1", func(c *runner.Container) { c.State = "exited" })
				elapse(5 * time.Second)
				if diff := cmp.Diff([]string{"terminate id-ci-1", "start id-ci-1"}, d.done()); diff != "" {
					t.Error("after the job:", diff)
				}
				if got := d.state("id-ci-1"); got != "running" {
					t.Errorf("is %s", got)
				}
			})
		})
	}
}

func TestDuplicatesAndCooldown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFake(slot("ci-1", ActionRestart))
		r, _, _ := start(t, d, nil)
		ready(t, r)
		a := alertOf("A", ActionRestart, "runner", "ci-1")
		send(t, r, a, a) // two Alertmanagers, one payload
		elapse(time.Second)
		for range 100 {
			send(t, r, a)
		}
		elapse(time.Second)
		send(t, r, alertOf("B", ActionRestart, "runner", "ci-1"))
		elapse(time.Second)
		want := []string{"restart ci-1 completed", "restart ci-1 refused duplicate", "restart ci-1 refused cooldown"}
		if diff := cmp.Diff(want, outcomes(r)); diff != "" {
			t.Error(diff)
		}
		if got := testutil.ToFloat64(r.metrics.refused.WithLabelValues(ActionRestart, Duplicate)); got != 101 {
			t.Errorf("counted %v duplicates, want 101", got)
		}
		elapse(2 * time.Minute)
		send(t, r, a) // it still stands: the restart did not help
		elapse(time.Second)
		if got := len(d.done()); got != 4 {
			t.Errorf("calls %v, want two restarts", d.done())
		}
	})
}

// TestBreaker walks through the state machine: open, half-open, open for twice as
// long, at most the longest, closed.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFake(slot("ci-1", ActionRestart, ActionBackoff))
		r, reg, _ := start(t, d, func(o *Options) {
			o.BackoffDuration, o.BackoffMax, o.BackoffProbation = 10*time.Minute, 25*time.Minute, time.Hour
		})
		ready(t, r)
		is := func(state journal.BreakerState, container string) {
			t.Helper()
			if b := r.Breakers()[0]; b.State != state || d.state("id-ci-1") != container {
				t.Fatalf("breaker %s, container %s; want %s, %s", b.State, d.state("id-ci-1"), state, container)
			}
		}
		stormy := func() {
			send(t, r, alertOf(storm, ActionBackoff, "runner", "ci-1"))
			elapse(time.Second)
		}
		fire := func() { send(t, r, alertOf(retryLoop, ActionRestart, "runner", "ci-1")); elapse(time.Second) }
		exported := func(names ...string) int {
			n, err := testutil.GatherAndCount(reg, names...)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		const until = "ghostrunner_remediator_breaker_open_until_timestamp_seconds"
		elapse(time.Second)
		is(journal.Closed, "running")
		if exported(until) != 0 || exported("ghostrunner_remediator_breaker_open") != 1 {
			t.Error("closed: want breaker_open and no until")
		}
		stormy()
		is(journal.Open, "exited")
		elapse(9 * time.Minute)
		stormy() // refused
		fire()   // refused
		is(journal.Open, "exited")
		elapse(time.Minute)
		is(journal.HalfOpen, "running")
		if exported(until) != 1 {
			t.Error("half-open: want until")
		}
		stormy() // the old storm still stands: refused
		is(journal.HalfOpen, "running")
		fire() // on probation: twice as long
		is(journal.Open, "exited")
		elapse(19 * time.Minute)
		is(journal.Open, "exited")
		elapse(2 * time.Minute)
		is(journal.HalfOpen, "running")
		fire() // at most 25 min
		elapse(24 * time.Minute)
		is(journal.Open, "exited")
		elapse(2 * time.Minute)
		is(journal.HalfOpen, "running")
		elapse(58 * time.Minute)
		is(journal.HalfOpen, "running")
		elapse(2 * time.Minute)
		is(journal.Closed, "running")
		if exported(until) != 0 {
			t.Error("closed again: want no until")
		}
		stormy() // from the beginning
		if got := time.Until(r.Breakers()[0].Until).Round(time.Minute); got != 10*time.Minute {
			t.Errorf("opens for %s after it was closed, want 10m", got)
		}
		want := []string{
			"backoff ci-1 completed", "backoff ci-1 completed", "restart ci-1 refused breaker_open",
			"backoff ci-1 refused breaker_open", "backoff ci-1 completed", "backoff ci-1 completed",
		}
		got := outcomes(r)
		slices.Sort(got)
		slices.Sort(want)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		if err := r.Reset("ci-1"); err != nil {
			t.Fatal(err)
		}
		elapse(time.Second)
		is(journal.HalfOpen, "running")
		if until := r.Breakers()[0].Until; until.After(time.Now()) {
			t.Errorf("until %s: the storm rule is silent only after it", until)
		}
		stormy() // its restarts still count, but nothing new happened: refused
		is(journal.HalfOpen, "running")
		elapse(2 * time.Minute) // the cooldown of back-off
		fire()                  // as if for the first time
		if got := time.Until(r.Breakers()[0].Until).Round(time.Minute); got != 10*time.Minute {
			t.Errorf("opens for %s after a reset, want 10m", got)
		}
		// Compose created the container again meanwhile: the old storm does not stop it.
		d.set("id-ci-1", func(c *runner.Container) { c.ID, c.State = "id-new", "running" })
		elapse(observeInterval + time.Second)
		if b := r.Breakers()[0]; b.State != journal.HalfOpen || d.state("id-new") != "running" || len(r.Status().Unfinished) > 0 {
			t.Errorf("created again: breaker %s, container %s, unfinished %v", b.State, d.state("id-new"), r.Status().Unfinished)
		}
		if err := r.Reset("ci-9"); !errors.Is(err, ErrUnknownRunner) {
			t.Errorf("reset of an unknown runner: %v", err)
		}
		if got := r.Breakers()[0].Fires; got != 0 {
			t.Errorf("%d fires: a fire on probation restarts nothing and is not counted", got)
		}
	})
}
