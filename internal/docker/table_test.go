package docker

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/google/go-cmp/cmp"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

var t0 = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func at(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }

func listedRunner(state, health string) listed {
	return listed{Container: runner.Container{ID: "1", Name: "a", Role: runner.RoleRunner, Runner: "ci-1", State: state, Health: health, Created: t0}}
}

func hear(evs ...event) (out []heard) {
	for _, ev := range evs {
		out = append(out, heard{ev, ev.at})
	}
	return out
}

func only(t *testing.T, tab *table) runner.Container {
	t.Helper()
	s := tab.snapshot()
	if len(s.Containers) != 1 {
		t.Fatalf("snapshot %+v, want one container", s)
	}
	return s.Containers[0]
}

// A list that was under way while events came may be older than they are: they win, and are counted once.
func TestMergeKeepsEvents(t *testing.T) {
	tab := newTable()
	tab.merge([]listed{listedRunner(runner.StateRunning, runner.HealthHealthy)}, nil, true, at(1))
	journal := []event{
		{id: "1", action: actionOOM, at: at(2)},
		{id: "1", action: actionDie, at: at(2), exitCode: 137, hasExitCode: true},
		{id: "1", action: actionStart, at: at(3)},
		{id: "1", action: "health_status: unhealthy", health: runner.HealthUnhealthy, at: at(4)},
	}
	for _, ev := range journal {
		tab.event(ev, true, ev.at)
	}
	for _, resync := range []bool{false, true, true} {
		tab.merge([]listed{listedRunner(runner.StateRunning, runner.HealthHealthy)}, hear(journal...), resync, at(5))
		c := only(t, tab)
		if c.State != runner.StateRunning || c.Health != runner.HealthUnhealthy || c.Starts != 1 || c.OOMKills != 1 || c.ExitCode != 137 || !c.Exited {
			t.Errorf("resync %t: %+v", resync, c)
		}
		bs, _, _ := tab.runs("1", 0)
		if len(bs) != 3 || bs[1].at != at(2) || bs[2].at != at(3) {
			t.Errorf("resync %t: boundaries %+v", resync, bs)
		}
	}
	// What a list does not show is gone, unless it came during the list.
	tab.merge(nil, hear(event{id: "1", action: actionPause, at: at(6)}), false, at(6))
	if c := only(t, tab); c.State != runner.StatePaused || c.Health != "" {
		t.Errorf("paused: %+v", c)
	}
	// A pause that is over leaves the health as it was.
	rest := hear(event{id: "1", action: actionPause, at: at(6)}, event{id: "1", action: actionUnpause, at: at(6)})
	tab.merge([]listed{listedRunner(runner.StateRunning, runner.HealthHealthy)}, rest, false, at(6))
	if c := only(t, tab); c.State != runner.StateRunning || c.Health != runner.HealthHealthy {
		t.Errorf("paused and unpaused: %+v", c)
	}
	tab.merge(nil, nil, false, at(7))
	if s := tab.snapshot(); len(s.Containers) != 0 || !s.Up || s.At != at(7) {
		t.Errorf("after an empty list: %+v", s)
	}
	// A list from before a removal does not bring the container back.
	tab.merge([]listed{listedRunner(runner.StateExited, "")}, hear(event{id: "1", action: actionDestroy, at: at(8)}), true, at(8))
	if s := tab.snapshot(); len(s.Containers) != 0 {
		t.Errorf("a removed container is back: %+v", s)
	}
}

// The engine calls a container unhealthy that it has not checked since a pause. That is not believed, whatever comes first; what a
// check has found is.
func TestHealthAfterPause(t *testing.T) {
	const long = int(hearsay / time.Second)
	pause := event{id: "1", action: actionPause, at: at(2)}
	unpause := event{id: "1", action: actionUnpause, at: at(3)}
	well := event{id: "1", action: actionHealth + ": " + runner.HealthHealthy, health: runner.HealthHealthy, at: at(4)}
	ill := event{id: "1", action: actionHealth + ": " + runner.HealthUnhealthy, health: runner.HealthUnhealthy, at: at(5)}
	list := func(state, health string, when int, journal ...event) func(*table) {
		return func(tab *table) { tab.merge([]listed{listedRunner(state, health)}, hear(journal...), false, at(when)) }
	}
	hears := func(evs ...event) func(*table) {
		return func(tab *table) {
			for _, ev := range evs {
				tab.event(ev, true, ev.at)
			}
		}
	}
	unchecked := list(runner.StateRunning, runner.HealthUnhealthy, 7)
	for name, c := range map[string]struct {
		steps []func(*table)
		want  string
	}{
		"events first":            {[]func(*table){hears(pause, unpause), unchecked}, runner.HealthHealthy},
		"events and list at once": {[]func(*table){hears(pause, unpause), list(runner.StateRunning, runner.HealthUnhealthy, 4, pause, unpause), unchecked}, runner.HealthHealthy},
		"list of the pause first": {[]func(*table){list(runner.StatePaused, "", 2), hears(pause, unpause), unchecked}, runner.HealthHealthy},
		"list of its end first":   {[]func(*table){hears(pause), unchecked, hears(unpause)}, runner.HealthHealthy},
		"list before both":        {[]func(*table){unchecked, hears(pause, unpause), list(runner.StateRunning, runner.HealthUnhealthy, 8, pause, unpause)}, runner.HealthHealthy},
		"no event at all":         {[]func(*table){list(runner.StatePaused, "", 2), unchecked}, runner.HealthHealthy},
		"long without a check":    {[]func(*table){hears(pause, unpause), unchecked, list(runner.StateRunning, runner.HealthUnhealthy, 8+long)}, runner.HealthUnhealthy},
		"a check that failed":     {[]func(*table){hears(pause, unpause, well, ill), unchecked}, runner.HealthUnhealthy},
		"ill before":              {[]func(*table){hears(ill, pause, unpause), unchecked}, runner.HealthUnhealthy},
		"well in a list between": {[]func(*table){
			hears(pause, unpause), list(runner.StateRunning, runner.HealthHealthy, 8), list(runner.StateRunning, runner.HealthUnhealthy, 8+long),
		}, runner.HealthHealthy},
		"a new run": {[]func(*table){
			hears(pause, unpause, event{id: "1", action: actionDie, at: at(5)}, event{id: "1", action: actionStart, at: at(6)}),
			list(runner.StateRunning, runner.HealthStarting, 6), hears(ill), unchecked,
		}, runner.HealthUnhealthy},
	} {
		t.Run(name, func(t *testing.T) {
			tab := newTable()
			tab.merge([]listed{listedRunner(runner.StateRunning, runner.HealthHealthy)}, nil, true, at(1))
			for _, do := range c.steps {
				do(tab)
			}
			if got := only(t, tab); got.State != runner.StateRunning || got.Health != c.want {
				t.Errorf("%s and %q, want running and %q", got.State, got.Health, c.want)
			}
		})
	}
}

// Events of a container that no list has shown yet are kept, but not shown.
func TestEventBeforeList(t *testing.T) {
	tab := newTable()
	tab.merge(nil, nil, true, at(0))
	ev := event{id: "1", action: actionStart, at: at(1)}
	if complete := tab.event(ev, true, at(1)); complete {
		t.Error("no list is wanted for an unknown container")
	}
	if s := tab.snapshot(); len(s.Containers) != 0 {
		t.Errorf("shown without name or role: %+v", s.Containers)
	}
	tab.merge([]listed{listedRunner(runner.StateRunning, "")}, nil, false, at(2))
	if c := only(t, tab); c.Starts != 1 {
		t.Errorf("starts %d, want 1", c.Starts)
	}
}

// A run that was on before our time may end while the first list is under way: its log is to be read all the same.
func TestEndBeforeList(t *testing.T) {
	tab := newTable()
	die := event{id: "1", action: actionDie, at: at(10), exitCode: 3, hasExitCode: true}
	tab.event(die, true, die.at)
	tab.merge([]listed{listedRunner(runner.StateRunning, "")}, hear(die), true, at(11))
	tab.merge([]listed{listedRunner(runner.StateExited, "")}, nil, true, at(20))
	bs, _, _ := tab.runs("1", 0)
	if len(bs) != 2 || !bs[0].start || bs[0].at != t0 || bs[0].seq != 1 || bs[1].start || bs[1].at != at(10) || bs[1].seq != 2 {
		t.Errorf("boundaries %+v, want a run from the creation to the event", bs)
	}
	tab.event(event{id: "1", action: actionStart, at: at(30)}, true, at(30))
	if bs, _, _ := tab.runs("1", 2); len(bs) != 1 || bs[0].seq != 3 {
		t.Errorf("boundaries after that: %+v, want the third", bs)
	}
}

func TestInfer(t *testing.T) {
	type b struct {
		Start bool
		At    int
	}
	with := func(l listed, began int) listed { l.began = at(began); return l }
	for name, tc := range map[string]struct {
		lists  []listed
		events []event // after the first list
		want   []b
	}{
		"created":              {[]listed{listedRunner(runner.StateCreated, "")}, nil, nil},
		"first run":            {[]listed{with(listedRunner(runner.StateRunning, ""), -5)}, nil, []b{{true, 0}}},
		"perhaps a later run":  {[]listed{with(listedRunner(runner.StateRunning, ""), 50)}, nil, []b{{true, 0}, {false, 50}, {true, 50}}},
		"over":                 {[]listed{listedRunner(runner.StateExited, "")}, nil, []b{{true, 0}, {false, 100}}},
		"in a restart loop":    {[]listed{listedRunner("restarting", "")}, nil, []b{{true, 0}, {false, 100}}},
		"end missed":           {[]listed{listedRunner(runner.StateRunning, ""), listedRunner(runner.StateExited, "")}, nil, []b{{true, 0}, {false, 101}}},
		"start missed":         {[]listed{listedRunner(runner.StateExited, ""), listedRunner(runner.StatePaused, "")}, nil, []b{{true, 0}, {false, 100}, {true, 101}}},
		"start told after all": {[]listed{listedRunner(runner.StateRunning, "")}, []event{{id: "1", action: actionStart, at: at(99)}}, []b{{true, 0}}},
		"end missed, start told": {[]listed{listedRunner(runner.StateRunning, "")}, []event{{id: "1", action: actionStart, at: at(99)}, {id: "1", action: actionStart, at: at(200)}},
			[]b{{true, 0}, {true, 200}}},
	} {
		tab := newTable()
		for i, l := range tc.lists {
			tab.merge([]listed{l}, nil, true, at(100+i))
		}
		for _, ev := range tc.events {
			tab.event(ev, true, ev.at)
		}
		bs, _, _ := tab.runs("1", 0)
		var got []b
		for _, x := range bs {
			got = append(got, b{x.start, int(x.at.Sub(t0) / time.Second)})
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestBoundariesAreBounded(t *testing.T) {
	tab := newTable()
	tab.merge([]listed{listedRunner(runner.StateRunning, "")}, nil, true, at(0))
	for i := range 10 * maxBoundaries {
		tab.event(event{id: "1", action: []string{actionDie, actionStart}[i%2], at: at(i)}, true, at(i))
	}
	if bs, _, _ := tab.runs("1", 0); len(bs) != maxBoundaries || bs[len(bs)-1].seq != 10*maxBoundaries+1 {
		t.Errorf("%d boundaries are kept, the last is %+v", len(bs), bs[len(bs)-1])
	}
}

// Whoever waits for the end of a run is told of that one, once, and nobody else is.
func TestWhenEnded(t *testing.T) {
	tab := newTable()
	tab.merge([]listed{listedRunner(runner.StateRunning, "")}, nil, true, at(0))
	told := 0
	wait := func(after uint64) (stop func()) { return tab.whenEnded("1", after, func() { told++ }) }
	want := func(n int, when string) {
		t.Helper()
		if told != n {
			t.Errorf("%s: told %d times, want %d", when, told, n)
		}
	}
	stop := wait(1)
	tab.event(event{id: "1", action: actionPause, at: at(1)}, true, at(1))
	want(0, "another event")
	tab.event(event{id: "1", action: actionDie, at: at(2)}, true, at(2))
	want(1, "the end")
	tab.event(event{id: "1", action: actionStart, at: at(3)}, true, at(3))
	stop()
	wait(1)()
	want(2, "an end that was before the question")
	wait(3)() // it does not wait any more
	tab.event(event{id: "1", action: actionDie, at: at(4)}, true, at(4))
	want(2, "after the question was taken back")
	tab.event(event{id: "1", action: actionStart, at: at(5)}, true, at(5))
	defer wait(5)()
	tab.event(event{id: "1", action: actionDestroy, at: at(6)}, true, at(6))
	want(3, "the container is gone")
	if len(tab.ends) != 0 {
		t.Errorf("%d are still waited for", len(tab.ends))
	}
}

func TestReadEvent(t *testing.T) {
	sel := selector{{"stack", "mine"}}
	msg := func(action string, attrs ...string) events.Message {
		m := events.Message{Type: events.ContainerEventType, Action: events.Action(action), TimeNano: 7,
			Actor: events.Actor{ID: "1", Attributes: map[string]string{"stack": "mine", runner.LabelRole: "runner"}}}
		for i := 0; i < len(attrs); i += 2 {
			m.Actor.Attributes[attrs[i]] = attrs[i+1]
		}
		return m
	}
	foreign, image := msg(actionStart, "stack", "theirs"), msg(actionStart)
	image.Type = events.ImageEventType
	plain := msg(actionStart)
	delete(plain.Actor.Attributes, runner.LabelRole)
	for name, m := range map[string]events.Message{
		"foreign": foreign, "of an image": image, "without role": plain, "matched by prefix": msg("start_something"), "unknown health": msg("health_status: odd"), "running": msg("health_status: running"),
	} {
		if ev, ok := readEvent(m, sel); ok {
			t.Errorf("%s: accepted as %+v", name, ev)
		}
	}
	for _, tc := range []struct {
		m    events.Message
		want event
	}{
		{msg(actionDie, "exitCode", "137"), event{id: "1", action: actionDie, exitCode: 137, hasExitCode: true}},
		{msg(actionDie), event{id: "1", action: actionDie}},
		{msg(actionRename, "name", "b", "oldName", "/a"), event{id: "1", action: actionRename, name: "b"}},
		{msg("health_status: unhealthy"), event{id: "1", action: "health_status: unhealthy", health: runner.HealthUnhealthy}},
	} {
		tc.want.at = time.Unix(0, 7)
		if got, ok := readEvent(tc.m, sel); !ok || got != tc.want {
			t.Errorf("got %+v, %t; want %+v", got, ok, tc.want)
		}
	}
}

func TestSeenEvents(t *testing.T) {
	var s seenEvents
	for round := range 2 {
		for i := range int64(len(s.ring)) {
			if got := s.first(eventKey{i, "1", actionStart}); got != (round == 0) {
				t.Fatalf("round %d, event %d: first %t", round, i, got)
			}
		}
	}
	if !s.first(eventKey{0, "1", actionDie}) || !s.first(eventKey{0, "2", actionStart}) {
		t.Error("another action, another container are taken for the same")
	}
	for i := range int64(10 * len(s.ring)) {
		s.first(eventKey{1e6 + i, "1", actionStart})
	}
	if len(s.keys) != len(s.ring) {
		t.Errorf("%d keys are kept, want %d", len(s.keys), len(s.ring))
	}
}
