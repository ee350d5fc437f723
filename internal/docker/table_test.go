package docker

import (
	"testing"
	"time"

	"github.com/docker/docker/api/types/events"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

var t0 = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

func at(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }

func listedRunner(state, health string) listed {
	return listed{Container: runner.Container{ID: "1", Name: "a", Role: runner.RoleRunner, Runner: "ci-1", State: state, Health: health, Created: t0}}
}

func received(evs ...event) (out []receivedEvent) {
	for _, ev := range evs {
		out = append(out, receivedEvent{ev, ev.at})
	}
	return out
}

func only(t *testing.T, tab *table) runner.Container {
	t.Helper()
	s := tab.snap.Load()
	if len(s.containers) != 1 {
		t.Fatalf("snapshot %+v, want one container", s)
	}
	return s.containers[0]
}

// A list that was under way while events came may be older than they are: they win, and are counted
// once.
func TestMergeKeepsEvents(t *testing.T) {
	tab := newTable()
	tab.merge([]listed{listedRunner(runner.StateRunning, runner.HealthHealthy)}, nil, at(1))
	recent := []event{
		{id: "1", action: events.ActionOOM, at: at(2)},
		{id: "1", action: events.ActionDie, at: at(2), exitCode: 137, hasExitCode: true},
		{id: "1", action: events.ActionStart, at: at(3)},
		{id: "1", action: "health_status: unhealthy", health: runner.HealthUnhealthy, at: at(4)},
	}
	for _, ev := range recent {
		tab.event(ev, true, ev.at)
	}
	for range 3 {
		tab.merge([]listed{listedRunner(runner.StateRunning, runner.HealthHealthy)}, received(recent...), at(5))
		c := only(t, tab)
		if c.State != runner.StateRunning || c.Health != runner.HealthUnhealthy || c.Starts != 1 || c.OOMKills != 1 || c.ExitCode != 137 || !c.Exited {
			t.Errorf("%+v", c)
		}
		if r := tab.entries["1"].run; r.number != 2 || r.began != at(3) {
			t.Errorf("run %+v", r)
		}
	}
	// What a list does not show is gone, unless it came during the list.
	tab.merge(nil, received(event{id: "1", action: events.ActionPause, at: at(6)}), at(6))
	if c := only(t, tab); c.State != runner.StatePaused || c.Health != "" {
		t.Errorf("paused: %+v", c)
	}
	// A pause that is over leaves the health as it was.
	rest := received(event{id: "1", action: events.ActionPause, at: at(6)}, event{id: "1", action: events.ActionUnPause, at: at(6)})
	tab.merge([]listed{listedRunner(runner.StateRunning, runner.HealthHealthy)}, rest, at(6))
	if c := only(t, tab); c.State != runner.StateRunning || c.Health != runner.HealthHealthy {
		t.Errorf("paused and unpaused: %+v", c)
	}
	tab.merge(nil, nil, at(7))
	if s := tab.snap.Load(); len(s.containers) != 0 || !s.up {
		t.Errorf("after an empty list: %+v", s)
	}
	// A list from before a removal does not bring the container back.
	tab.merge([]listed{listedRunner(runner.StateExited, "")}, received(event{id: "1", action: events.ActionDestroy, at: at(8)}), at(8))
	if s := tab.snap.Load(); len(s.containers) != 0 {
		t.Errorf("a removed container is back: %+v", s)
	}
}

// The engine calls a container unhealthy that it has not checked since a pause. That is ignored, in
// whatever order lists and events arrive; the result of a check is not.
func TestHealthAfterPause(t *testing.T) {
	const long = int(staleHealthWindow / time.Second)
	pause := event{id: "1", action: events.ActionPause, at: at(2)}
	unpause := event{id: "1", action: events.ActionUnPause, at: at(3)}
	well := event{id: "1", action: events.ActionHealthStatus + ": " + runner.HealthHealthy, health: runner.HealthHealthy, at: at(4)}
	ill := event{id: "1", action: events.ActionHealthStatus + ": " + runner.HealthUnhealthy, health: runner.HealthUnhealthy, at: at(5)}
	list := func(state, health string, when int, recent ...event) func(*table) {
		return func(tab *table) { tab.merge([]listed{listedRunner(state, health)}, received(recent...), at(when)) }
	}
	apply := func(evs ...event) func(*table) {
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
		"events first":            {[]func(*table){apply(pause, unpause), unchecked}, runner.HealthHealthy},
		"events and list at once": {[]func(*table){apply(pause, unpause), list(runner.StateRunning, runner.HealthUnhealthy, 4, pause, unpause), unchecked}, runner.HealthHealthy},
		"list of the pause first": {[]func(*table){list(runner.StatePaused, "", 2), apply(pause, unpause), unchecked}, runner.HealthHealthy},
		"list of its end first":   {[]func(*table){apply(pause), unchecked, apply(unpause)}, runner.HealthHealthy},
		"list before both":        {[]func(*table){unchecked, apply(pause, unpause), list(runner.StateRunning, runner.HealthUnhealthy, 8, pause, unpause)}, runner.HealthHealthy},
		"no event at all":         {[]func(*table){list(runner.StatePaused, "", 2), unchecked}, runner.HealthHealthy},
		"long without a check":    {[]func(*table){apply(pause, unpause), unchecked, list(runner.StateRunning, runner.HealthUnhealthy, 8+long)}, runner.HealthUnhealthy},
		"a check that failed":     {[]func(*table){apply(pause, unpause, well, ill), unchecked}, runner.HealthUnhealthy},
		"ill before":              {[]func(*table){apply(ill, pause, unpause), unchecked}, runner.HealthUnhealthy},
		"well in a list between": {[]func(*table){
			apply(pause, unpause), list(runner.StateRunning, runner.HealthHealthy, 8), list(runner.StateRunning, runner.HealthUnhealthy, 8+long),
		}, runner.HealthHealthy},
		"a new run": {[]func(*table){
			apply(pause, unpause, event{id: "1", action: events.ActionDie, at: at(5)}, event{id: "1", action: events.ActionStart, at: at(6)}),
			list(runner.StateRunning, runner.HealthStarting, 6), apply(ill), unchecked,
		}, runner.HealthUnhealthy},
	} {
		t.Run(name, func(t *testing.T) {
			tab := newTable()
			tab.merge([]listed{listedRunner(runner.StateRunning, runner.HealthHealthy)}, nil, at(1))
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
	tab.merge(nil, nil, at(0))
	ev := event{id: "1", action: events.ActionStart, at: at(1)}
	if complete := tab.event(ev, true, at(1)); complete {
		t.Error("no list is wanted for an unknown container")
	}
	if s := tab.snap.Load(); len(s.containers) != 0 {
		t.Errorf("shown without name or role: %+v", s.containers)
	}
	tab.merge([]listed{listedRunner(runner.StateRunning, "")}, nil, at(2))
	if c := only(t, tab); c.Starts != 1 {
		t.Errorf("starts %d, want 1", c.Starts)
	}
}

// runs are told by events, and by lists only where an event is missing.
func TestRuns(t *testing.T) {
	start := func(s int) event { return event{id: "1", action: events.ActionStart, at: at(s)} }
	die := func(s int) event { return event{id: "1", action: events.ActionDie, at: at(s)} }
	with := func(l listed, began int) listed { l.began = at(began); return l }
	type step any // an event, or a list of one container
	for name, tc := range map[string]struct {
		steps []step
		want  run
	}{
		"created":                    {[]step{runningIn(runner.StateCreated)}, run{}},
		"over":                       {[]step{runningIn(runner.StateExited)}, run{}},
		"running":                    {[]step{with(runningIn(runner.StateRunning), -5)}, run{number: 1, began: at(-5), replay: true}},
		"paused":                     {[]step{with(runningIn(runner.StatePaused), -5)}, run{number: 1, began: at(-5), replay: true}},
		"the same in another list":   {[]step{with(runningIn(runner.StateRunning), -5), with(runningIn(runner.StateRunning), -6)}, run{number: 1, began: at(-5), replay: true}},
		"ended":                      {[]step{with(runningIn(runner.StateRunning), -5), die(3)}, run{number: 1, began: at(-5), ended: at(3), replay: true}},
		"end missed":                 {[]step{with(runningIn(runner.StateRunning), -5), runningIn(runner.StateExited)}, run{number: 1, began: at(-5), ended: at(101), replay: true}},
		"start before the list":      {[]step{start(3), with(runningIn(runner.StateRunning), 0)}, run{number: 1, began: at(3), seen: true}},
		"restart":                    {[]step{with(runningIn(runner.StateRunning), -5), die(3), start(4)}, run{number: 2, began: at(4), seen: true}},
		"restart, end missed":        {[]step{with(runningIn(runner.StateRunning), -5), start(4)}, run{number: 2, began: at(4), seen: true}},
		"restart, start missed":      {[]step{with(runningIn(runner.StateRunning), -5), die(3), with(runningIn(runner.StateRunning), 6)}, run{number: 2, began: at(6)}},
		"restart, seen in two lists": {[]step{with(runningIn(runner.StateRunning), -5), runningIn(runner.StateRestarting), with(runningIn(runner.StateRunning), 6)}, run{number: 2, began: at(6)}},
	} {
		tab := newTable()
		for i, s := range tc.steps {
			switch s := s.(type) {
			case event:
				tab.event(s, true, s.at)
			case listed:
				tab.merge([]listed{s}, nil, at(100+i))
			}
		}
		got := tab.entries["1"].run
		if got.previousEnded = (time.Time{}); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

func runningIn(state string) listed { return listedRunner(state, "") }

func TestReadEvent(t *testing.T) {
	sel := selector{{"stack", "mine"}}
	msg := func(action events.Action, attrs ...string) events.Message {
		m := events.Message{Type: events.ContainerEventType, Action: action, TimeNano: 7,
			Actor: events.Actor{ID: "1", Attributes: map[string]string{"stack": "mine", runner.LabelRole: "runner"}}}
		for i := 0; i < len(attrs); i += 2 {
			m.Actor.Attributes[attrs[i]] = attrs[i+1]
		}
		return m
	}
	foreign, image := msg(events.ActionStart, "stack", "theirs"), msg(events.ActionStart)
	image.Type = events.ImageEventType
	plain := msg(events.ActionStart)
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
		{msg(events.ActionDie, "exitCode", "137"), event{id: "1", action: events.ActionDie, exitCode: 137, hasExitCode: true}},
		{msg(events.ActionDie), event{id: "1", action: events.ActionDie}},
		{msg(events.ActionRename, "name", "b", "oldName", "/a"), event{id: "1", action: events.ActionRename, name: "b"}},
		{msg("health_status: unhealthy"), event{id: "1", action: "health_status: unhealthy", health: runner.HealthUnhealthy}},
	} {
		tc.want.at = time.Unix(0, 7)
		if got, ok := readEvent(tc.m, sel); !ok || got != tc.want {
			t.Errorf("got %+v, %t; want %+v", got, ok, tc.want)
		}
	}
}
