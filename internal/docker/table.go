package docker

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/docker/docker/api/types/events"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// snapshot is the engine at one moment. It is shared and never modified.
type snapshot struct {
	up         bool
	containers []runner.Container // those with a role, sorted by name; none while the engine is not up
}

// staleHealthWindow is how long after a pause an "unhealthy" in a list is ignored. The engine gives
// a container that health as soon as it stops to check it, and leaves it so until a check has
// passed, which an event reports (moby container/health.go, CloseMonitorChannel). If the checks
// fail instead, there is no event; three checks have had their time by then.
const staleHealthWindow = 3 * time.Minute

// run is one run of a container's main process.
type run struct {
	slot          string    // of the container; set by runs
	number        uint64    // counts the runs that were seen, from 1; 0: none yet
	began         time.Time // at the earliest
	ended         time.Time // at the latest; zero while it is under way
	previousEnded time.Time // end of the run before, at the latest
	seen          bool      // an event reported the start; otherwise a list shows that there was one
	replay        bool      // it was under way when the container was first listed
}

// entry is what the table knows of one container.
type entry struct {
	c      runner.Container
	listed bool // some list has shown it; until then only events did
	probed bool // it has a health check
	run    run

	healthBeforePause string
	resumedAt         time.Time // end of the last pause; zero: none, or a check has ended since
}

func (e *entry) begin(at time.Time, seen, replay bool) {
	previousEnded := e.run.ended
	if previousEnded.IsZero() { // no event reported it
		previousEnded = at.Add(-startSlack)
	}
	e.run = run{number: e.run.number + 1, began: at, previousEnded: previousEnded, seen: seen, replay: replay}
}

// resume ends a pause: the health is what it was before, until a check reports another.
func (e *entry) resume(at time.Time) {
	e.resumedAt = at
	if e.c.State == runner.StatePaused {
		e.c.Health = e.healthBeforePause
	}
	e.c.State = runner.StateRunning
}

// setHealth sets what a check or a new run has made of the health: earlier pauses do not matter.
func (e *entry) setHealth(health string) {
	e.c.Health, e.healthBeforePause, e.resumedAt = health, "", time.Time{}
}

// healthByList returns the health of the container that a list shows. Every check that makes it
// unhealthy is reported by an event; if a list shows that first, the events of a pause may be on
// their way.
func (e *entry) healthByList(c runner.Container, now time.Time) string {
	switch {
	case c.State == runner.StatePaused || e.c.State == runner.StatePaused:
		e.healthBeforePause = cmp.Or(e.c.Health, e.healthBeforePause)
		if c.State == runner.StateRunning {
			e.resumedAt = now
		}
	case c.Health == runner.HealthUnhealthy && e.c.Health != "" && e.c.Health != runner.HealthUnhealthy && e.resumedAt.IsZero():
		e.healthBeforePause, e.resumedAt = e.c.Health, now
	}
	switch {
	case c.Health == runner.HealthUnhealthy && now.Sub(e.resumedAt) < staleHealthWindow:
		return e.healthBeforePause
	case c.Health == runner.HealthHealthy:
		e.resumedAt = time.Time{}
	}
	return c.Health
}

// table is the state that the watcher keeps. Only the watcher writes it; Tail reads it, and all
// others read the published snapshot, without a lock.
type table struct {
	snap atomic.Pointer[snapshot]

	mu      sync.Mutex
	up      bool
	entries map[string]*entry
	changed chan struct{} // closed and replaced at every change
}

func newTable() *table {
	t := &table{entries: map[string]*entry{}, changed: make(chan struct{})}
	t.snap.Store(&snapshot{})
	return t
}

// publish makes the present state visible. The caller holds the lock.
func (t *table) publish() {
	s := &snapshot{up: t.up}
	if t.up {
		s.containers = make([]runner.Container, 0, len(t.entries))
		for _, e := range t.entries {
			if e.listed {
				s.containers = append(s.containers, e.c)
			}
		}
		slices.SortFunc(s.containers, func(a, b runner.Container) int { return strings.Compare(a.Name, b.Name) })
	}
	t.snap.Store(s)
	close(t.changed)
	t.changed = make(chan struct{})
}

// down records that the engine does not answer.
func (t *table) down() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.up {
		t.up = false
		t.publish()
	}
}

// event applies a new event to the state, to the runs and, with count, to the counters. It reports
// whether that is all; otherwise a list is needed for the details. A health event of a known
// container is complete.
func (t *table) event(ev event, count bool, now time.Time) (complete bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.apply(ev, now) {
		return false
	}
	e := t.entries[ev.id]
	if e != nil {
		switch ev.action {
		case events.ActionStart:
			e.begin(ev.at, true, false)
			if count {
				e.c.Starts++
			}
		case events.ActionDie:
			e.run.ended = ev.at
		case events.ActionOOM:
			if count {
				e.c.OOMKills++
			}
		}
	}
	t.publish()
	return ev.health != "" && e.listed
}

// apply applies the effect of an event on the state, which can be done twice without harm. It
// reports whether the event can have changed anything.
func (t *table) apply(ev event, received time.Time) bool {
	if ev.action == events.ActionDestroy {
		delete(t.entries, ev.id)
		return true
	}
	e := t.entries[ev.id]
	if e == nil {
		if ev.action != events.ActionStart && ev.action != events.ActionDie && ev.action != events.ActionOOM && ev.health == "" {
			return false // a list will show it
		}
		e = &entry{}
		e.c.ID = ev.id
		t.entries[ev.id] = e
	}
	switch ev.action {
	case events.ActionStart:
		e.c.State = runner.StateRunning
		e.setHealth("")
		if e.probed {
			e.c.Health = runner.HealthStarting
		}
	case events.ActionDie:
		e.c.State = runner.StateExited
		e.setHealth("")
		if ev.hasExitCode {
			e.c.ExitCode, e.c.Exited = ev.exitCode, true
		}
	case events.ActionPause:
		if e.c.Health != "" {
			e.healthBeforePause = e.c.Health
		}
		e.c.State, e.c.Health = runner.StatePaused, "" // health checks pause too
	case events.ActionUnPause:
		e.resume(received)
	case events.ActionRename:
		e.c.Name = ev.name
	default:
		if ev.health != "" {
			e.setHealth(ev.health)
			e.probed = true
		}
	}
	return true
}

// merge replaces the state by that of a list. recent holds the events that the list may not
// include: their effect on the state is applied again, their counts are not.
func (t *table) merge(list []listed, recent []receivedEvent, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	keep := make(map[string]bool, len(list)+len(recent))
	wasRunning := make(map[string]bool, len(list))
	for i := range list {
		c := list[i].Container
		keep[c.ID] = true
		e := t.entries[c.ID]
		if e == nil {
			e = &entry{}
			t.entries[c.ID] = e
		}
		wasRunning[c.ID] = e.c.Running()
		c.Starts, c.OOMKills = e.c.Starts, e.c.OOMKills
		e.probed = e.probed || c.Health != ""
		c.Health = e.healthByList(c, now)
		if !c.Exited && e.c.Exited {
			c.ExitCode, c.Exited = e.c.ExitCode, true
		}
		e.c, e.listed = c, true
	}
	for _, ev := range recent {
		keep[ev.id] = true
		t.apply(ev.event, ev.received)
	}
	maps.DeleteFunc(t.entries, func(id string, _ *entry) bool { return !keep[id] })
	for i := range list {
		e := t.entries[list[i].ID]
		switch { // starts and ends that no event reported
		case e == nil:
		case e.c.Running() && !wasRunning[e.c.ID]:
			e.begin(list[i].began, false, e.run.number == 0)
		case !e.c.Running() && wasRunning[e.c.ID]:
			e.run.ended = now
		}
	}
	t.up = true
	t.publish()
}

// wait returns the channel that the next change closes. A caller that reads the state after this
// call misses no change.
func (t *table) wait() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed
}

// awaitUp waits until the engine is up. It reports false if ctx ended.
func (t *table) awaitUp(ctx context.Context) bool {
	for ctx.Err() == nil {
		changed := t.wait()
		if t.snap.Load().up {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
		}
	}
	return false
}

// runs returns the latest run of every runner container that was seen running, by container id, and
// whether the engine is up.
func (t *table) runs() (runs map[string]run, up bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	runs = make(map[string]run)
	for id, e := range t.entries {
		if e.listed && e.c.Role == runner.RoleRunner && e.c.Runner != "" && e.run.number > 0 {
			r := e.run
			r.slot = e.c.Runner
			runs[id] = r
		}
	}
	return runs, t.up
}
