package remedy

import (
	"fmt"
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

// TestEscalation is an alert that stands: restart, then back off and call a person.
func TestEscalation(t *testing.T) {
	for _, c := range []struct {
		name   string
		heal   []string
		online bool // GitHub sees the runner after each restart
		fresh  bool // the alert is over after each action, and comes again
		want   []string
		called float64
	}{
		{"the same alert stands", []string{ActionRestart, ActionBackoff}, true, false,
			[]string{"restart completed", "backoff completed", "backoff completed"}, 2},
		{"restarts cannot be verified", []string{ActionRestart, ActionBackoff}, false, true,
			[]string{"restart failed", "backoff completed", "backoff completed"}, 2},
		{"no back-off is allowed", []string{ActionRestart}, true, false,
			[]string{"restart completed", "restart completed", "restart completed"}, 2},
		{"it is over after each restart, and comes again", []string{ActionRestart, ActionBackoff}, true, true,
			[]string{"restart completed", "restart completed", "restart completed"}, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				one, two := slot("ci-1", c.heal...), slot("ci-2")
				one.Scope, two.Scope = "acme", "acme"
				healthy := runner.Registration{ID: 100, Name: "ci-2-x", Status: "online"}
				d, g := newFake(one, two), &fakeGitHub{list: []runner.Registration{healthy}}
				starts := int64(0)
				d.start = func(string) error {
					if starts++; c.online {
						g.set(healthy, runner.Registration{ID: starts, Name: fmt.Sprintf("ci-1-%d", starts), Status: "online"})
					}
					return nil
				}
				r, _, _ := start(t, d, func(o *Options) { o.GitHub = g })
				ready(t, r)
				a := alertOf("A", ActionRestart, "runner", "ci-1")
				var got []string
				for range 40 {
					if c.fresh {
						a.StartsAt = time.Now()
					}
					if d.state("id-ci-1") == "running" {
						send(t, r, a)
					}
					elapse(time.Minute)
					got = got[:0]
					for _, rec := range slices.Backward(attempts(r, 100)) {
						if rec.Outcome == journal.Completed || rec.Outcome == journal.Failed {
							got = append(got, rec.Action+" "+string(rec.Outcome))
						}
					}
					if len(got) == len(c.want) {
						break
					}
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Error(diff)
				}
				if n := testutil.ToFloat64(r.metrics.failures.WithLabelValues(ActionRestart, "ci-1", failIneffective)); n != c.called {
					t.Errorf("a person was called %v times, want %v", n, c.called)
				}
			})
		})
	}
}

// TestBusyConflict is GitHub calling a runner busy against an empty container: that counts for ten
// minutes, if nothing speaks for a job meanwhile, and is then ignored, which is noted.
func TestBusyConflict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, g := newFake(slot("ci-1", ActionRestart)), registered("ci-1-a", false, true)
		r, _, _ := start(t, d, func(o *Options) { o.GitHub, o.VerifyTimeout = g, time.Second })
		ready(t, r)
		ask := func() journal.Record {
			send(t, r, alertOf("A", ActionRestart, "runner", "ci-1"))
			elapse(10 * time.Second)
			return attempts(r, 1)[0]
		}
		if rec := ask(); rec.Reason != Busy || !strings.Contains(rec.Detail, "ignored in 10m0s") {
			t.Errorf("at first: %s %s", rec.Reason, rec.Detail)
		}
		// The alert stands and is repeated each minute.
		repeat := func(minutes int) (rec journal.Record) {
			for range minutes {
				elapse(50 * time.Second)
				rec = ask()
			}
			return rec
		}
		if rec := repeat(9); rec.Reason != Busy {
			t.Errorf("after nine minutes: %s %s", rec.Outcome, rec.Detail)
		}
		d.busy("id-ci-1", true) // a job
		repeat(1)
		d.busy("id-ci-1", false)
		if rec := repeat(9); rec.Reason != Busy {
			t.Errorf("nine minutes after a job: %s %s", rec.Outcome, rec.Detail)
		}
		g.set(runner.Registration{ID: 2, Name: "ci-1-b", Busy: true}) // the next job's registration is another matter
		if rec := repeat(9); rec.Reason != Busy {
			t.Errorf("nine minutes after a new registration: %s %s", rec.Outcome, rec.Detail)
		}
		elapse(time.Hour) // nothing is known of this time
		if rec := repeat(9); rec.Reason != Busy {
			t.Errorf("nine minutes after an hour without a look: %s %s", rec.Outcome, rec.Detail)
		}
		repeat(3)
		var said bool
		for _, rec := range attempts(r, 100) {
			said = said || rec.Outcome != journal.Refused && slices.ContainsFunc(rec.Verdicts, func(v Verdict) bool {
				return strings.Contains(v.Detail, "GitHub still says that ci-1-b is busy")
			})
		}
		if len(d.done()) != 2 || !said {
			t.Errorf("after ten minutes: %v, noted: %t", d.done(), said)
		}
	})
}

// TestVerifiedAtGitHub is the last part of a restart: the runner is online again, as itself and not
// as its corpse.
func TestVerifiedAtGitHub(t *testing.T) {
	for _, c := range []struct {
		name string
		at   func(g *fakeGitHub) // what happens at GitHub after the start, with time to go by
		want string
		note string
	}{
		{"online again", func(g *fakeGitHub) {
			elapse(20 * time.Second)
			g.set(runner.Registration{ID: 1, Name: "ci-1-old"}, runner.Registration{ID: 2, Name: "ci-1-new", Status: "online"})
		}, "restart ci-1 completed", "ci-1-new is online at GitHub"},
		{"its corpse is online", func(*fakeGitHub) {}, "restart ci-1 failed not_verified", ""},
		{"the same registration, which was offline in between", func(g *fakeGitHub) {
			g.set(runner.Registration{ID: 1, Name: "ci-1-old"})
			elapse(20 * time.Second)
			g.set(runner.Registration{ID: 1, Name: "ci-1-old", Status: "online"})
		}, "restart ci-1 completed", "ci-1-old is online at GitHub"},
		{"another one is online", func(g *fakeGitHub) { g.set(runner.Registration{ID: 2, Name: "ci-10-x", Status: "online"}) }, "restart ci-1 failed not_verified", ""},
		{"GitHub is down", func(g *fakeGitHub) { g.mu.Lock(); g.silent = true; g.mu.Unlock() }, "restart ci-1 completed", "GitHub cannot be asked: no answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sick := slot("ci-1", ActionRestart)
				sick.Health = "unhealthy"
				d, g := newFake(sick), &fakeGitHub{list: []runner.Registration{{ID: 1, Name: "ci-1-old", Status: "online"}}}
				r, _, _ := start(t, d, func(o *Options) { o.GitHub = g })
				ready(t, r)
				send(t, r, alertOf("A", ActionRestart, "runner", "ci-1"))
				elapse(time.Second)
				c.at(g)
				elapse(4 * time.Minute)
				if diff := cmp.Diff([]string{c.want}, outcomes(r)); diff != "" {
					t.Error(diff)
				}
				if rec := attempts(r, 1)[0]; c.note != "" && !strings.Contains(strings.Join(rec.Evidence, "\n"), c.note) {
					t.Errorf("evidence %q lacks %q", rec.Evidence, c.note)
				}
			})
		})
	}
}
