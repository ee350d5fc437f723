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
)

// TestLadder climbs while an alert stands: restart, restart without the old registrations, back off and call a person.
func TestLadder(t *testing.T) {
	for _, c := range []struct {
		name   string
		heal   []string
		online bool // GitHub sees the runner after each restart
		fresh  bool // the alert is over after each action, and comes again
		want   []string
		gone   []string
		vain   float64
	}{
		{"the same alert stands", []string{ActionRestart, ActionBackoff}, true, false,
			[]string{"restart 1 completed", "restart 2 completed", "backoff 3 completed", "backoff 0 completed"},
			[]string{"ci-1-aaaaaaaaa2@acme"}, 2},
		{"restarts cannot be verified", []string{ActionRestart, ActionBackoff}, false, true,
			[]string{"restart 1 failed", "restart 2 failed", "backoff 3 completed", "backoff 0 completed"}, nil, 2},
		{"no back-off is allowed", []string{ActionRestart}, true, false,
			[]string{"restart 1 completed", "restart 2 completed", "restart 2 completed", "restart 2 completed"},
			[]string{"ci-1-aaaaaaaaa2@acme", "ci-1-aaaaaaaaa3@acme", "ci-1-aaaaaaaaa4@acme"}, 2},
		{"it is over after each restart, and comes again", []string{ActionRestart, ActionBackoff}, true, true,
			[]string{"restart 1 completed", "restart 1 completed", "restart 1 completed", "restart 1 completed"}, nil, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				one, two := runnerContainer("ci-1", c.heal...), runnerContainer("ci-2")
				one.Scope, two.Scope = "acme", "acme"
				healthy := Registration{ID: 100, Name: "ci-2-x", Status: "online"}
				foreign := Registration{ID: 101, Name: "ci-1-gpu"} // of a machine that we do not know
				d, g := newFake(one, two), &fakeGitHub{list: []Registration{healthy, foreign}}
				starts := int64(0)
				d.start = func(string) error {
					if starts++; c.online {
						g.set(healthy, foreign, Registration{ID: starts, Name: "ci-1-aaaaaaaaa" + string(rune('1'+starts)), Status: "online"})
					}
					return nil
				}
				r, _, _ := start(t, d, func(o *Options) { o.GitHub = g })
				ready(t, r)
				a := alertOf("GhostrunnerRunnerOffline", ActionRestart, "runner", "ci-1")
				var got []string
				for range 40 {
					if c.fresh {
						a["startsAt"] = time.Now().UTC().Format(time.RFC3339Nano)
					}
					if d.state("id-ci-1") == "running" {
						send(t, r, a)
					}
					elapse(time.Minute)
					got = got[:0]
					for _, rec := range slices.Backward(r.Attempts(100)) {
						if rec.Outcome == OutcomeCompleted || rec.Outcome == OutcomeFailed {
							got = append(got, rec.Action+" "+string(rune('0'+rec.Rung))+" "+string(rec.Outcome))
						}
					}
					if len(got) == len(c.want) {
						break
					}
				}
				if diff := cmp.Diff(c.want, got); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(c.gone, g.removed); diff != "" {
					t.Error("registrations removed:", diff)
				}
				if n := testutil.ToFloat64(r.metrics.failures.WithLabelValues(ActionRestart, "ci-1", FailInVain)); n != c.vain {
					t.Errorf("a person was called %v times, want %v", n, c.vain)
				}
			})
		})
	}
}

// lateGitHub is one during whose answer to a removal something happens.
type lateGitHub struct {
	*fakeGitHub

	meanwhile func()
}

func (g lateGitHub) Deregister(context.Context, string, int64) error {
	g.meanwhile()
	return errors.New("it runs a job")
}

// TestJobWhileDeregistering is a job that begins in a runner that ignores SIGTERM, while GitHub is asked to remove its old
// registrations: it is not cut, and the runner is started anew after it.
func TestJobWhileDeregistering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newFake(runnerContainer("ci-1", ActionRestart))
		d.stubborn["id-ci-1"] = true
		g := lateGitHub{registered("ci-1-aaaaaaaaaa", false, false), func() { d.busy("id-ci-1", true) }}
		r, _, _ := start(t, d, func(o *Options) { o.GitHub, o.VerifyTimeout = g, time.Second })
		ready(t, r)
		for range 2 { // the first cannot be verified
			send(t, r, alertOf("A", ActionRestart, "runner", "ci-1"))
			elapse(10 * time.Minute)
		}
		want := []string{"terminate id-ci-1", "restart id-ci-1 2s", "terminate id-ci-1"}
		if diff := cmp.Diff(want, d.done()); diff != "" {
			t.Error("while the job runs:", diff)
		}
		if rec := r.Attempts(1)[0]; rec.Rung != rungRegister || rec.Reason != FailBusy {
			t.Errorf("rung %d: %s %s", rec.Rung, rec.Outcome, rec.Reason)
		}
		d.busy("id-ci-1", false)
		elapse(10 * time.Minute)
		if diff := cmp.Diff(append(want, "restart id-ci-1 2s"), d.done()); diff != "" {
			t.Error("after the job:", diff)
		}
	})
}

// TestDispute is GitHub calling a runner busy against an empty container: believed for ten minutes, if nothing speaks for a
// job meanwhile, and then acted on, which is said.
func TestDispute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, g := newFake(runnerContainer("ci-1", ActionRestart)), registered("ci-1-a", false, true)
		r, _, _ := start(t, d, func(o *Options) { o.GitHub, o.VerifyTimeout = g, time.Second })
		ready(t, r)
		ask := func() Record {
			send(t, r, alertOf("A", ActionRestart, "runner", "ci-1"))
			elapse(10 * time.Second)
			return r.Attempts(1)[0]
		}
		if rec := ask(); rec.Reason != string(Busy) || !strings.Contains(rec.Detail, "not believed in 10m0s") {
			t.Errorf("at first: %s %s", rec.Reason, rec.Detail)
		}
		elapse(9 * time.Minute)
		if rec := ask(); rec.Reason != string(Busy) {
			t.Errorf("after nine minutes: %s %s", rec.Outcome, rec.Detail)
		}
		d.busy("id-ci-1", true) // a job, for a minute, that no alert saw
		elapse(time.Minute)
		d.busy("id-ci-1", false)
		elapse(9 * time.Minute)
		if rec := ask(); rec.Reason != string(Busy) {
			t.Errorf("nine minutes after a job: %s %s", rec.Outcome, rec.Detail)
		}
		g.set(Registration{ID: 2, Name: "ci-1-b", Busy: true}) // the next job's registration is another matter
		elapse(9 * time.Minute)
		if rec := ask(); rec.Reason != string(Busy) {
			t.Errorf("nine minutes after a new registration: %s %s", rec.Outcome, rec.Detail)
		}
		elapse(time.Minute + disputeInterval)
		rec := ask()
		if len(d.done()) != 2 || !slices.ContainsFunc(rec.Evidence, func(s string) bool { return strings.Contains(s, "GitHub still says that ci-1-b is busy") }) {
			t.Errorf("after ten minutes: %v; %s %q", d.done(), rec.Outcome, rec.Evidence)
		}
	})
}

// TestVerifiedAtGitHub is the last part of a restart: the runner is online again, as itself and not as its corpse.
func TestVerifiedAtGitHub(t *testing.T) {
	for _, c := range []struct {
		name string
		at   func(g *fakeGitHub) // what happens at GitHub after the start, with time to go by
		want string
		note string
	}{
		{"online again", func(g *fakeGitHub) {
			elapse(20 * time.Second)
			g.set(Registration{ID: 1, Name: "ci-1-old"}, Registration{ID: 2, Name: "ci-1-new", Status: "online"})
		}, "restart ci-1 completed", "ci-1-new is online at GitHub"},
		{"its corpse is online", func(*fakeGitHub) {}, "restart ci-1 failed not_verified", ""},
		{"the same registration, which was offline in between", func(g *fakeGitHub) {
			g.set(Registration{ID: 1, Name: "ci-1-old"})
			elapse(20 * time.Second)
			g.set(Registration{ID: 1, Name: "ci-1-old", Status: "online"})
		}, "restart ci-1 completed", "ci-1-old is online at GitHub"},
		{"another one is online", func(g *fakeGitHub) { g.set(Registration{ID: 2, Name: "ci-10-x", Status: "online"}) }, "restart ci-1 failed not_verified", ""},
		{"GitHub is down", func(g *fakeGitHub) { g.mu.Lock(); g.silent = true; g.mu.Unlock() }, "restart ci-1 completed", "GitHub cannot be asked: no answer"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				sick := runnerContainer("ci-1", ActionRestart)
				sick.Health = "unhealthy"
				d, g := newFake(sick), &fakeGitHub{list: []Registration{{ID: 1, Name: "ci-1-old", Status: "online"}}}
				r, _, _ := start(t, d, func(o *Options) { o.GitHub = g })
				ready(t, r)
				send(t, r, alertOf("A", ActionRestart, "runner", "ci-1"))
				elapse(time.Second)
				c.at(g)
				elapse(4 * time.Minute)
				if diff := cmp.Diff([]string{c.want}, outcomes(r)); diff != "" {
					t.Error(diff)
				}
				if rec := r.Attempts(1)[0]; c.note != "" && !strings.Contains(strings.Join(rec.Evidence, "\n"), c.note) {
					t.Errorf("evidence %q lacks %q", rec.Evidence, c.note)
				}
			})
		})
	}
}
