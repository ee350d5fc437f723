package remedy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/remedy/prune"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// TestGuards is the table of decisions: a world, an alert, and what comes of it.
func TestGuards(t *testing.T) {
	service := runner.Container{ID: "id-db", Name: "demo-db", Role: runner.RoleService, Heal: []string{ActionRestart}, State: "running", Health: "unhealthy"}
	worker := func(d *fakeDocker) { d.busy("id-ci-1", true) }
	down := slot("ci-1", ActionRestart, ActionBackoff)
	down.State = "exited"
	stopped := []runner.Container{down}
	cases := []struct {
		name   string
		list   []runner.Container // default: one runner ci-1 that may be restarted and backed off
		world  func(d *fakeDocker)
		opts   func(o *Options)
		state  func(t *journal.Tx)
		alert  Notice
		want   string // "" acts
		detail string
	}{
		{name: "acts on a runner", alert: alertOf("A", ActionRestart, "runner", "ci-1")},
		{name: "acts on a container", alert: alertOf("A", ActionRestart, "container", "demo-ci-1")},
		{name: "both agree", alert: alertOf("A", ActionRestart, "runner", "ci-1", "container", "demo-ci-1")},
		{name: "acts on a service", list: []runner.Container{service}, alert: alertOf("GhostrunnerServiceUnhealthy", ActionRestart, "container", "demo-db")},
		{name: "stopped is idle", list: []runner.Container{{ID: "id-ci-1", Name: "c", Role: runner.RoleRunner, Runner: "ci-1", Heal: []string{ActionRestart}, State: "exited"}},
			world: func(d *fakeDocker) {
				d.process = func(context.Context, string) ([]string, error) { return nil, errors.New("is not running") }
			},
			alert: alertOf("A", ActionRestart, "runner", "ci-1")},
		{name: "prune", alert: alertOf(diskLow, ActionPrune)},

		{name: "no such action", alert: alertOf("A", "reboot", "runner", "ci-1"), want: UntrustedLabel, detail: "reboot"},
		{name: "action in capitals", alert: alertOf("A", "Restart", "runner", "ci-1"), want: UntrustedLabel},
		{name: "paused", state: func(t *journal.Tx) { t.SetPause(journal.Pause{On: true}) }, alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: Paused},
		{name: "no label", alert: alertOf("A", ActionRestart), want: NoTarget},
		{name: "no such runner", alert: alertOf("A", ActionRestart, "runner", "ci-2"), want: NoTarget},
		{name: "prefix of a name", alert: alertOf("A", ActionRestart, "runner", "ci"), want: NoTarget},
		{name: "pattern", alert: alertOf("A", ActionRestart, "runner", "ci-.*"), want: NoTarget},
		{name: "container by its id", alert: alertOf("A", ActionRestart, "container", "id-ci-1"), want: NoTarget},
		{name: "container with slash", alert: alertOf("A", ActionRestart, "container", "/demo-ci-1"), want: NoTarget},
		{name: "container is no runner", list: []runner.Container{service}, alert: alertOf("A", ActionRestart, "runner", "demo-db"), want: NoTarget},
		{name: "labels disagree", list: []runner.Container{slot("ci-1", ActionRestart), slot("ci-2", ActionRestart)},
			alert: alertOf("A", ActionRestart, "runner", "ci-1", "container", "demo-ci-2"), want: UntrustedLabel},
		{name: "one label leads nowhere", alert: alertOf("A", ActionRestart, "runner", "ci-1", "container", "other"), want: UntrustedLabel},
		{name: "two claim the slot", list: []runner.Container{slot("ci-1", ActionRestart), {ID: "2", Name: "two", Role: runner.RoleRunner, Runner: "ci-1", Heal: []string{ActionRestart}, State: "running"}},
			alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: UntrustedLabel},
		{name: "nothing allowed", list: []runner.Container{slot("ci-1")}, alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: NotAllowed},
		{name: "another action allowed", list: []runner.Container{slot("ci-1", ActionBackoff)}, alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: NotAllowed},
		{name: "itself", opts: func(o *Options) { o.Self = "id-db" }, list: []runner.Container{service}, alert: alertOf("A", ActionRestart, "container", "demo-db"), want: NotAllowed, detail: "own"},
		{name: "no role", list: []runner.Container{{ID: "1", Name: "web", Heal: []string{ActionRestart}, State: "running"}}, alert: alertOf("A", ActionRestart, "container", "web"), want: NotAllowed},
		{name: "service backed off", list: []runner.Container{{ID: "1", Name: "db", Role: runner.RoleService, Heal: []string{ActionBackoff}, State: "running"}}, alert: alertOf("A", ActionBackoff, "container", "db"), want: NotAllowed},
		{name: "Docker is down", world: func(d *fakeDocker) {
			d.containers = func(context.Context) ([]runner.Container, error) { return nil, errors.New("cannot connect") }
		}, alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: UnknownState, detail: "cannot connect"},
		{name: "cooldown", state: func(t *journal.Tx) { t.PutRecord(restarted("ci-1", time.Minute)) },
			alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: Cooldown},
		{name: "cooldown is over", state: func(t *journal.Tx) { t.PutRecord(restarted("ci-1", 3*time.Minute)) },
			alert: alertOf("A", ActionRestart, "runner", "ci-1")},
		{name: "cooldown of another", state: func(t *journal.Tx) { t.PutRecord(restarted("ci-2", 0)) },
			alert: alertOf("A", ActionRestart, "runner", "ci-1")},
		{name: "breaker open", state: func(t *journal.Tx) {
			t.PutBreaker("ci-1", journal.Breaker{Instant: journal.Instant{Time: time.Now(), Boot: uptime()}, State: journal.Open, Length: time.Minute})
		},
			alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: BreakerOpen},
		{name: "storm while open", state: func(t *journal.Tx) { t.PutBreaker("ci-1", journal.Breaker{State: journal.Open}) },
			alert: alertOf("S", ActionBackoff, "runner", "ci-1"), want: BreakerOpen},
		{name: "storm on probation", state: func(t *journal.Tx) {
			t.PutBreaker("ci-1", journal.Breaker{Instant: journal.Instant{Time: time.Now(), Boot: uptime()}, State: journal.HalfOpen, Length: time.Minute})
		},
			alert: alertOf("S", ActionBackoff, "runner", "ci-1"), want: BreakerOpen, detail: "probation"},
		{name: "unfinished", state: func(t *journal.Tx) {
			t.PutStart(journal.PendingStart{Instant: journal.Instant{Time: time.Now(), Boot: uptime()}, Target: "ci-1", ID: "id-ci-1", Action: ActionRestart, Phase: journal.PhaseDown, Length: time.Hour})
		},
			alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: OneAtATime},
		{name: "busy by process", world: worker, alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: Busy, detail: "Runner.Worker"},
		{name: "busy by GitHub", opts: github(registered("ci-1-abc", true, true)), alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: Busy, detail: "GitHub says that ci-1-abc is busy"},
		{name: "GitHub not asked", opts: github(&fakeGitHub{list: []runner.Registration{{ID: 1, Name: "ci-1", Busy: true}}, silent: true}), alert: alertOf("A", ActionRestart, "runner", "ci-1")},
		{name: "idle by both", opts: github(registered("ci-1-abc", false, false)), alert: alertOf("A", ActionRestart, "runner", "ci-1")},
		{name: "another slot is busy", opts: github(registered("ci-10-abc", true, true)), alert: alertOf("A", ActionRestart, "runner", "ci-1")},
		{name: "the last one online, and nothing shows that it is broken", opts: github(registered("ci-1-abc", true, false)),
			alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: LastOnline},
		{name: "the last one online is the broken one", list: []runner.Container{func() runner.Container { c := slot("ci-1", ActionRestart); c.Health = "unhealthy"; return c }()},
			opts: github(registered("ci-1-abc", true, false)), alert: alertOf("A", ActionRestart, "runner", "ci-1")},
		{name: "the last one online was restarted for its retry loop", opts: github(registered("ci-1-abc", true, false)),
			state: func(t *journal.Tx) { t.PutRecord(journal.Record{Target: "ci-1", Fire: true, Began: time.Now()}) },
			alert: alertOf("S", ActionBackoff, "runner", "ci-1")},
		{name: "another one is online", list: []runner.Container{slot("ci-1", ActionRestart), slot("ci-2")},
			opts:  github(&fakeGitHub{list: []runner.Registration{{ID: 1, Name: "ci-1-a", Status: "online"}, {ID: 2, Name: "ci-2-b", Status: "online"}}}),
			alert: alertOf("A", ActionRestart, "runner", "ci-1")},
		{name: "another one is online elsewhere", list: []runner.Container{slot("ci-1", ActionRestart), func() runner.Container { c := slot("ci-2"); c.Scope = "other"; return c }()},
			opts:  github(&fakeGitHub{list: []runner.Registration{{ID: 1, Name: "ci-1-a", Status: "online"}, {ID: 2, Name: "ci-2-b", Status: "online"}}}),
			alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: LastOnline},
		{name: "outside of the window", opts: func(o *Options) { o.Window = shut{} }, alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: OutsideWindow, detail: "opens"},
		{name: "prune outside of the window", opts: func(o *Options) { o.Window = shut{} }, alert: alertOf(diskLow, ActionPrune), want: OutsideWindow},
		{name: "processes unknown", world: func(d *fakeDocker) {
			d.process = func(context.Context, string) ([]string, error) { return nil, errors.New("no ps") }
		}, alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: UnknownState},
		{name: "no process at all", world: func(d *fakeDocker) {
			d.process = func(context.Context, string) ([]string, error) { return nil, nil }
		}, alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: UnknownState},
		{name: "prune while busy", world: worker, alert: alertOf(diskLow, ActionPrune), want: Busy},
		{name: "prune while busy, disk full", world: worker, opts: func(o *Options) { o.Pruner.Measure = disk(1.9e9) }, alert: alertOf(diskLow, ActionPrune)},
		{name: "prune while busy, called critical by a label that cannot move the floor", world: worker,
			alert: alertOf("GhostrunnerDiskCritical", ActionPrune, prune.LabelThreshold, "6e9", prune.LabelTarget, "6e9"), want: Busy},
		{name: "healthy again", list: []runner.Container{func() runner.Container { c := slot("ci-1", ActionRestart); c.Health = "healthy"; return c }()},
			alert: alertOf("GhostrunnerRunnerUnhealthy", ActionRestart, "runner", "ci-1"), want: Recovered},
		{name: "unhealthy, and stopped by hand since", list: stopped, alert: alertOf("GhostrunnerRunnerUnhealthy", ActionRestart, "runner", "ci-1"), want: Recovered, detail: "a person stopped it"},
		{name: "retry loop, and stopped by hand since", list: stopped, alert: alertOf(retryLoop, ActionRestart, "runner", "ci-1"), want: Recovered},
		{name: "storm, and stopped by hand since", list: stopped, alert: alertOf("S", ActionBackoff, "runner", "ci-1"), want: Recovered},
		{name: "critical", opts: func(o *Options) { o.Pruner.Measure = disk(1.9e9) }, alert: alertOf("GhostrunnerDiskCritical", ActionPrune)},
		{name: "no longer critical", alert: alertOf("GhostrunnerDiskCritical", ActionPrune), want: Recovered},
		{name: "prune without a threshold", alert: alertOf("A", ActionPrune), want: UntrustedLabel, detail: "threshold_bytes"},
		{name: "threshold is no number", alert: alertOf(diskLow, ActionPrune, prune.LabelThreshold, "NaN"), want: UntrustedLabel, detail: "NaN"},
		{name: "threshold is negative", alert: alertOf(diskLow, ActionPrune, prune.LabelThreshold, "-1"), want: UntrustedLabel},
		{name: "threshold is endless", alert: alertOf(diskLow, ActionPrune, prune.LabelTarget, "+Inf"), want: UntrustedLabel},
		{name: "threshold above the target", alert: alertOf(diskLow, ActionPrune, prune.LabelThreshold, "13e9"), want: UntrustedLabel, detail: "above"},
		{name: "target above half of the disk", alert: alertOf(diskLow, ActionPrune, prune.LabelTarget, "51e9"), want: UntrustedLabel, detail: "half of the disk"},
		{name: "recheck of nothing", alert: alertOf("A", ActionRestart, "runner", "ci-1", labelRecheck, "mood"), want: UntrustedLabel, detail: "mood"},
		{name: "recheck of the disk for a restart", alert: alertOf("A", ActionRestart, "runner", "ci-1", labelRecheck, recheckDisk), want: UntrustedLabel},
		{name: "recheck of health for a prune", alert: alertOf(diskLow, ActionPrune, labelRecheck, recheckHealth), want: UntrustedLabel},
		{name: "online again", opts: github(registered("ci-1-abc", true, false)), alert: alertOf("GhostrunnerRunnerOffline", ActionRestart, "runner", "ci-1"), want: Recovered, detail: "sees ci-1 online"},
		{name: "still offline", opts: github(registered("ci-1-abc", false, false)), alert: alertOf("GhostrunnerRunnerOffline", ActionRestart, "runner", "ci-1")},
		{name: "offline, and GitHub was not asked of late", opts: github(&fakeGitHub{silent: true}), alert: alertOf(retryLoop, ActionRestart, "runner", "ci-1")},
		{name: "space again", opts: func(o *Options) { o.Pruner.Measure = disk(10e9) },
			alert: alertOf(diskLow, ActionPrune), want: Recovered, detail: "threshold is 10000000000"},
		{name: "space not known", opts: func(o *Options) {
			o.Pruner.Measure = func(string) (uint64, uint64, error) { return 0, 0, errors.New("no such folder") }
		},
			alert: alertOf(diskLow, ActionPrune), want: UnknownState},
		{name: "dry run", opts: func(o *Options) { o.DryRun = true }, alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: DryRun},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			list := c.list
			if list == nil {
				list = []runner.Container{slot("ci-1", ActionRestart, ActionBackoff)}
			}
			d := newFake(list...)
			if c.world != nil {
				c.world(d)
			}
			r, _, _ := start(t, d, c.opts)
			ready(t, r)
			if c.state != nil {
				change(t, r, c.state)
			}
			c.alert.Received = time.Now()
			e := r.Explain(t.Context(), []Notice{c.alert})[0]
			if e.Reason != c.want || !strings.Contains(e.Detail, c.detail) {
				t.Errorf("explain: %s %q, want %q %q", e.Reason, e.Detail, c.want, c.detail)
			}
			if got := d.done(); len(got) > 0 {
				t.Errorf("explain did %v", got)
			}
			if c.want == "" {
				return
			}
			send(t, r, c.alert)
			idle(t, r)
			if got := d.done(); len(got) > 0 {
				t.Errorf("did %v", got)
			}
			if last := attempts(r, 1)[0]; last.Outcome != journal.Refused || last.Reason != c.want || len(last.Verdicts) == 0 {
				t.Errorf("history %+v, want a refusal: %s", last, c.want)
			}
		})
	}
}

// restarted is a restart that ended some time ago.
func restarted(target string, ago time.Duration) journal.Record {
	at := time.Now().Add(-ago)
	return journal.Record{Outcome: journal.Completed, Action: ActionRestart, Target: target, Began: at, Ended: at}
}

func github(g *fakeGitHub) func(*Options) { return func(o *Options) { o.GitHub = g } }

// shut is a window that opens in twelve hours.
type shut struct{}

func (shut) Open(time.Time) bool { return false }

func (shut) Next(now time.Time) time.Time { return now.Add(12 * time.Hour) }

// TestGuardOrder keeps the list readable: what has to be asked for comes last.
func TestGuardOrder(t *testing.T) {
	var got []string
	for _, g := range Guards {
		got = append(got, g.Name)
	}
	want := []string{
		"paused", "window", "age", "allowed", "duplicate", "breaker", "cooldown", "one_at_a_time", "recovered", "busy", "last_online", "dry_run",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestOldAlert is an alert that was accepted before the machine slept for hours.
func TestOldAlert(t *testing.T) {
	d := newFake(slot("ci-1", ActionRestart))
	disk := newMemory()
	store := disk.store(t)
	old := journal.Alert{Fingerprint: "f", Labels: map[string]string{labelRemediation: ActionRestart, labelRunner: "ci-1"}, Received: time.Now().Add(-time.Hour)}
	if err := store.Update(func(t *journal.Tx) error { t.Enqueue(old); return nil }); err != nil {
		t.Fatal(err)
	}
	r, _, _ := start(t, d, func(o *Options) { o.OpenDisk = disk.open })
	ready(t, r)
	idle(t, r)
	if diff := cmp.Diff([]string{"restart ci-1 refused unknown_state"}, outcomes(r)); diff != "" || len(d.done()) > 0 {
		t.Error(diff, d.done())
	}
}
