package remedy

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestGuards is the table of decisions: a world, an alert, and what comes of it.
func TestGuards(t *testing.T) {
	service := Container{ID: "id-db", Name: "demo-db", Role: RoleService, Heal: []string{ActionRestart}, State: "running", Health: "unhealthy"}
	worker := func(d *fakeDocker) { d.busy("id-ci-1", true) }
	down := runnerContainer("ci-1", ActionRestart, ActionBackoff)
	down.State = "exited"
	stopped := []Container{down}
	cases := []struct {
		name   string
		list   []Container // default: one runner ci-1 that may be restarted and backed off
		world  func(d *fakeDocker)
		opts   func(o *Options)
		state  func(s *state)
		alert  map[string]any
		want   Reason // "" acts
		detail string
	}{
		{name: "acts on a runner", alert: alertOf("A", ActionRestart, "runner", "ci-1")},
		{name: "acts on a container", alert: alertOf("A", ActionRestart, "container", "demo-ci-1")},
		{name: "both agree", alert: alertOf("A", ActionRestart, "runner", "ci-1", "container", "demo-ci-1")},
		{name: "acts on a service", list: []Container{service}, alert: alertOf("GhostrunnerServiceUnhealthy", ActionRestart, "container", "demo-db")},
		{name: "stopped is idle", list: []Container{{ID: "id-ci-1", Name: "c", Role: RoleRunner, Runner: "ci-1", Heal: []string{ActionRestart}, State: "exited"}},
			world: func(d *fakeDocker) {
				d.process = func(context.Context, string) ([]string, error) { return nil, errors.New("is not running") }
			},
			alert: alertOf("A", ActionRestart, "runner", "ci-1")},
		{name: "prune", alert: alertOf("GhostrunnerDiskLow", ActionPrune)},

		{name: "no such action", alert: alertOf("A", "reboot", "runner", "ci-1"), want: UntrustedLabel, detail: "reboot"},
		{name: "action in capitals", alert: alertOf("A", "Restart", "runner", "ci-1"), want: UntrustedLabel},
		{name: "paused", state: func(s *state) { s.paused = true }, alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: Paused},
		{name: "no label", alert: alertOf("A", ActionRestart), want: NoTarget},
		{name: "no such runner", alert: alertOf("A", ActionRestart, "runner", "ci-2"), want: NoTarget},
		{name: "prefix of a name", alert: alertOf("A", ActionRestart, "runner", "ci"), want: NoTarget},
		{name: "pattern", alert: alertOf("A", ActionRestart, "runner", "ci-.*"), want: NoTarget},
		{name: "container by its id", alert: alertOf("A", ActionRestart, "container", "id-ci-1"), want: NoTarget},
		{name: "container with slash", alert: alertOf("A", ActionRestart, "container", "/demo-ci-1"), want: NoTarget},
		{name: "container is no runner", list: []Container{service}, alert: alertOf("A", ActionRestart, "runner", "demo-db"), want: NoTarget},
		{name: "labels disagree", list: []Container{runnerContainer("ci-1", ActionRestart), runnerContainer("ci-2", ActionRestart)},
			alert: alertOf("A", ActionRestart, "runner", "ci-1", "container", "demo-ci-2"), want: UntrustedLabel},
		{name: "one label leads nowhere", alert: alertOf("A", ActionRestart, "runner", "ci-1", "container", "other"), want: UntrustedLabel},
		{name: "two claim the slot", list: []Container{runnerContainer("ci-1", ActionRestart), {ID: "2", Name: "two", Role: RoleRunner, Runner: "ci-1", Heal: []string{ActionRestart}, State: "running"}},
			alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: UntrustedLabel},
		{name: "nothing allowed", list: []Container{runnerContainer("ci-1")}, alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: NotAllowed},
		{name: "another action allowed", list: []Container{runnerContainer("ci-1", ActionBackoff)}, alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: NotAllowed},
		{name: "itself", opts: func(o *Options) { o.Self = "id-db" }, list: []Container{service}, alert: alertOf("A", ActionRestart, "container", "demo-db"), want: NotAllowed, detail: "own"},
		{name: "no role", list: []Container{{ID: "1", Name: "web", Heal: []string{ActionRestart}, State: "running"}}, alert: alertOf("A", ActionRestart, "container", "web"), want: NotAllowed},
		{name: "service backed off", list: []Container{{ID: "1", Name: "db", Role: RoleService, Heal: []string{ActionBackoff}, State: "running"}}, alert: alertOf("A", ActionBackoff, "container", "db"), want: NotAllowed},
		{name: "Docker is down", world: func(d *fakeDocker) {
			d.containers = func(context.Context) ([]Container, error) { return nil, errors.New("cannot connect") }
		}, alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: UnknownState, detail: "cannot connect"},
		{name: "cooldown", state: func(s *state) { s.last[lastKey(ActionRestart, "ci-1")] = time.Now().Add(-time.Minute) },
			alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: Cooldown},
		{name: "cooldown is over", state: func(s *state) { s.last[lastKey(ActionRestart, "ci-1")] = time.Now().Add(-3 * time.Minute) },
			alert: alertOf("A", ActionRestart, "runner", "ci-1")},
		{name: "cooldown of another", state: func(s *state) { s.last[lastKey(ActionRestart, "ci-2")] = time.Now() },
			alert: alertOf("A", ActionRestart, "runner", "ci-1")},
		{name: "breaker open", state: func(s *state) { s.breakers["ci-1"] = Breaker{State: Open, Until: time.Now().Add(time.Minute)} },
			alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: BreakerOpen},
		{name: "storm while open", state: func(s *state) { s.breakers["ci-1"] = Breaker{State: Open} },
			alert: alertOf("S", ActionBackoff, "runner", "ci-1"), want: BreakerOpen},
		{name: "storm on probation", state: func(s *state) {
			s.breakers["ci-1"] = Breaker{State: HalfOpen, Length: time.Minute, Closes: time.Now().Add(time.Hour)}
		},
			alert: alertOf("S", ActionBackoff, "runner", "ci-1"), want: BreakerOpen, detail: "probation"},
		{name: "unfinished", state: func(s *state) {
			s.debts["ci-1"] = &Debt{Target: "ci-1", Action: ActionRestart, Phase: PhaseDown, due: time.Now().Add(time.Hour), retry: time.Now().Add(time.Hour)}
		},
			alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: OneAtATime},
		{name: "busy by process", world: worker, alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: Busy, detail: "Runner.Worker"},
		{name: "busy by GitHub", opts: github(registered("ci-1-abc", true, true)), alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: Busy, detail: "GitHub says that ci-1-abc is busy"},
		{name: "GitHub not asked", opts: github(&fakeGitHub{list: []Registration{{ID: 1, Name: "ci-1", Busy: true}}, silent: true}), alert: alertOf("A", ActionRestart, "runner", "ci-1")},
		{name: "idle by both", opts: github(registered("ci-1-abc", false, false)), alert: alertOf("A", ActionRestart, "runner", "ci-1")},
		{name: "another slot is busy", opts: github(registered("ci-10-abc", true, true)), alert: alertOf("A", ActionRestart, "runner", "ci-1")},
		{name: "the last one online, and nothing shows that it is broken", opts: github(registered("ci-1-abc", true, false)),
			alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: LastOnline},
		{name: "the last one online is the broken one", list: []Container{func() Container { c := runnerContainer("ci-1", ActionRestart); c.Health = "unhealthy"; return c }()},
			opts: github(registered("ci-1-abc", true, false)), alert: alertOf("A", ActionRestart, "runner", "ci-1")},
		{name: "the last one online was restarted for its retry loop", opts: github(registered("ci-1-abc", true, false)),
			state: func(s *state) { s.records[1] = Record{ID: 1, Target: "ci-1", Fire: true, Began: time.Now()} },
			alert: alertOf("S", ActionBackoff, "runner", "ci-1")},
		{name: "another one is online", list: []Container{runnerContainer("ci-1", ActionRestart), runnerContainer("ci-2")},
			opts:  github(&fakeGitHub{list: []Registration{{ID: 1, Name: "ci-1-a", Status: "online"}, {ID: 2, Name: "ci-2-b", Status: "online"}}}),
			alert: alertOf("A", ActionRestart, "runner", "ci-1")},
		{name: "another one is online elsewhere", list: []Container{runnerContainer("ci-1", ActionRestart), func() Container { c := runnerContainer("ci-2"); c.Scope = "other"; return c }()},
			opts:  github(&fakeGitHub{list: []Registration{{ID: 1, Name: "ci-1-a", Status: "online"}, {ID: 2, Name: "ci-2-b", Status: "online"}}}),
			alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: LastOnline},
		{name: "outside of the window", opts: func(o *Options) { o.Window = shut(t) }, alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: OutsideWindow, detail: "opens"},
		{name: "prune outside of the window", opts: func(o *Options) { o.Window = shut(t) }, alert: alertOf("GhostrunnerDiskLow", ActionPrune), want: OutsideWindow},
		{name: "processes unknown", world: func(d *fakeDocker) {
			d.process = func(context.Context, string) ([]string, error) { return nil, errors.New("no ps") }
		}, alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: UnknownState},
		{name: "no process at all", world: func(d *fakeDocker) {
			d.process = func(context.Context, string) ([]string, error) { return nil, nil }
		}, alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: UnknownState},
		{name: "prune while busy", world: worker, alert: alertOf("GhostrunnerDiskLow", ActionPrune), want: Busy},
		{name: "prune while busy, disk full", world: worker, opts: func(o *Options) { o.Free = func(string) (uint64, error) { return 1.9e9, nil } }, alert: alertOf("GhostrunnerDiskLow", ActionPrune)},
		{name: "prune while busy, called critical", world: worker, alert: alertOf("GhostrunnerDiskCritical", ActionPrune), want: Busy},
		{name: "healthy again", list: []Container{func() Container { c := runnerContainer("ci-1", ActionRestart); c.Health = "healthy"; return c }()},
			alert: alertOf("GhostrunnerRunnerUnhealthy", ActionRestart, "runner", "ci-1"), want: Recovered},
		{name: "unhealthy, and stopped by hand since", list: stopped, alert: alertOf("GhostrunnerRunnerUnhealthy", ActionRestart, "runner", "ci-1"), want: Recovered, detail: "somebody stopped it"},
		{name: "retry loop, and stopped by hand since", list: stopped, alert: alertOf(AlertRetryLoop, ActionRestart, "runner", "ci-1"), want: Recovered},
		{name: "storm, and stopped by hand since", list: stopped, alert: alertOf("S", ActionBackoff, "runner", "ci-1"), want: Recovered},
		{name: "critical, with a threshold below that", opts: func(o *Options) {
			o.PruneThreshold, o.Free = 1e9, func(string) (uint64, error) { return 1.9e9, nil }
		}, alert: alertOf("GhostrunnerDiskCritical", ActionPrune)},
		{name: "space again", opts: func(o *Options) { o.Free = func(string) (uint64, error) { return 10e9, nil } },
			alert: alertOf("GhostrunnerDiskLow", ActionPrune), want: Recovered, detail: "threshold is 10000000000"},
		{name: "space not known", opts: func(o *Options) { o.Free = func(string) (uint64, error) { return 0, errors.New("no such folder") } },
			alert: alertOf("GhostrunnerDiskLow", ActionPrune), want: UnknownState},
		{name: "dry run", opts: func(o *Options) { o.DryRun = true }, alert: alertOf("A", ActionRestart, "runner", "ci-1"), want: DryRun},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			list := c.list
			if list == nil {
				list = []Container{runnerContainer("ci-1", ActionRestart, ActionBackoff)}
			}
			d := newFake(list...)
			if c.world != nil {
				c.world(d)
			}
			r, _, _ := start(t, d, c.opts)
			ready(t, r)
			if c.state != nil {
				r.mu.Lock()
				c.state(&r.state)
				r.mu.Unlock()
			}
			m, err := decode(strings.NewReader(payload(c.alert)))
			if err != nil {
				t.Fatal(err)
			}
			e := r.Explain(t.Context(), m)[0]
			if Reason(e.Reason) != c.want || !strings.Contains(e.Detail, c.detail) {
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
			history := r.Attempts(10)
			if len(history) != 1 || history[0].Reason != string(c.want) || len(history[0].Verdicts) == 0 {
				t.Errorf("history %+v, want one refusal: %s", history, c.want)
			}
		})
	}
}

func github(g *fakeGitHub) func(*Options) { return func(o *Options) { o.GitHub = g } }

// shut is a window that opens in twelve hours.
func shut(t *testing.T) Window {
	now := time.Now().UTC()
	w, err := ParseWindow(now.Add(12*time.Hour).Format("15:04") + "-" + now.Add(13*time.Hour).Format("15:04"))
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// TestGuardOrder keeps the list readable: what asks Docker for processes is last.
func TestGuardOrder(t *testing.T) {
	r, _, _ := start(t, newFake(), nil)
	var got []string
	for _, g := range r.Guards() {
		got = append(got, g.Name)
	}
	want := []string{
		"action", "paused", "window", "age", "duplicate", "target", "breaker", "ladder", "allowed", "cooldown", "one_at_a_time",
		"recovered", "busy", "last_online", "dry_run",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

// TestOldAlert is an alert that was accepted before the machine slept for hours.
func TestOldAlert(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	j, err := openJournal(path, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	old := Alert{Fingerprint: "f", Labels: map[string]string{labelRemediation: ActionRestart, labelRunner: "ci-1"}, Received: time.Now().Add(-time.Hour)}
	if err := errors.Join(j.write(t.Context(), put(bucketInbox, seqKey(1), old)), j.close()); err != nil {
		t.Fatal(err)
	}
	d := newFake(runnerContainer("ci-1", ActionRestart))
	r, _, _ := start(t, d, func(o *Options) { o.JournalPath = path })
	ready(t, r)
	idle(t, r)
	if diff := cmp.Diff([]string{"restart  refused unknown_state"}, outcomes(r)); diff != "" || len(d.done()) > 0 {
		t.Error(diff, d.done())
	}
}
