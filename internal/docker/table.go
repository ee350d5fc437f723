package docker

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Snapshot is the engine at one moment. It is shared: nobody may modify it, nor the maps and slices in it.
type Snapshot struct {
	// Up says that the engine answers and the watcher follows it.
	Up bool
	// At is when the engine last answered; zero before it ever did.
	At time.Time
	// Containers are those with a ghostrunner.role, sorted by name. None are told while the engine is not up: what was
	// true of them then may not be now.
	Containers []runner.Container
}

// boundary is the begin or the end of one run of a container.
type boundary struct {
	seq   uint64 // counts the boundaries of one container, from 1
	start bool
	at    time.Time
	// guessed: inferred from a list, because the event was missed or came before our time.
	guessed bool
}

// maxBoundaries bounds what is kept of a container that restarts faster than its log follower reads. The oldest go.
const maxBoundaries = 32

// createSlack is what lies between the creation, told in whole seconds, and the first start of a container that is
// started at once.
const createSlack = 2 * time.Second

// hearsay is how long "unhealthy" in a list is not believed after a pause. The engine gives a container that health as soon as it
// stops to check it, and leaves it so until a check has passed, which an event tells (moby container/health.go,
// CloseMonitorChannel). Where the checks fail instead, no event comes; three checks have had their time by then.
const hearsay = 3 * time.Minute

// entry is what the table knows of one container.
type entry struct {
	c      runner.Container
	listed bool      // some list has shown it; until then only events speak of it
	probed bool      // it has a health check
	rested string    // the health that it had when it was paused
	woke   time.Time // when that was over; zero: no pause, or a check has ended since
	runs   []boundary
	seq    uint64
}

// wake ends a pause: the health is what it was before, until a check says more.
func (e *entry) wake(at time.Time) {
	e.woke = at
	if e.c.State == runner.StatePaused {
		e.c.Health = e.rested
	}
	e.c.State = runner.StateRunning
}

// checked sets the health to what a check or a new run has made of it: pauses before do not matter any more.
func (e *entry) checked(health string) {
	e.c.Health, e.rested, e.woke = health, "", time.Time{}
}

// relisted is told how a list shows the container, and returns the health that it has by that. Every check that makes it
// unhealthy is told by an event; where a list says so first, the events of a pause may be on their way as well.
func (e *entry) relisted(c runner.Container, now time.Time) (health string) {
	switch {
	case c.State == runner.StatePaused || e.c.State == runner.StatePaused:
		e.rested = cmp.Or(e.c.Health, e.rested)
		if c.State == runner.StateRunning {
			e.woke = now
		}
	case c.Health == runner.HealthUnhealthy && e.c.Health != "" && e.c.Health != runner.HealthUnhealthy && e.woke.IsZero():
		e.rested, e.woke = e.c.Health, now
	}
	switch {
	case c.Health == runner.HealthUnhealthy && now.Sub(e.woke) < hearsay:
		return e.rested
	case c.Health == runner.HealthHealthy:
		e.woke = time.Time{}
	}
	return c.Health
}

func (e *entry) running() bool { return len(e.runs) > 0 && e.runs[len(e.runs)-1].start }

// mark adds a boundary. A second end, or a begin right after a guessed begin, is the same boundary seen again.
func (e *entry) mark(start bool, at time.Time, guessed bool) {
	if n := len(e.runs); n > 0 && e.runs[n-1].start == start && (!start || guessed || e.runs[n-1].guessed) {
		e.runs[n-1].guessed = guessed && e.runs[n-1].guessed
		return
	}
	if len(e.runs) == maxBoundaries {
		e.runs = slices.Delete(e.runs, 0, 1)
	}
	e.seq++
	e.runs = append(e.runs, boundary{seq: e.seq, start: start, at: at, guessed: guessed})
}

// precede adds the begin of a run that was on before our time and of which an event told the end before any list showed
// the container. Until then nobody has read its boundaries, so they may be counted anew.
func (e *entry) precede(at time.Time) {
	if len(e.runs) == 0 || len(e.runs) == maxBoundaries || e.runs[0].start {
		return
	}
	e.runs = slices.Insert(e.runs, 0, boundary{start: true, at: at, guessed: true})
	for i := range e.runs {
		e.runs[i].seq = uint64(i + 1)
	}
	e.seq = uint64(len(e.runs))
}

// table is the state that the watcher keeps: written by the watcher alone, read by the log followers and, through the
// published snapshot, by everybody else without a lock.
type table struct {
	snap atomic.Pointer[Snapshot]
	// version counts changes, so that a reader can tell cheaply that there is nothing new.
	version atomic.Uint64

	mu      sync.Mutex
	up      bool
	at      time.Time
	entries map[string]*entry
	ends    map[string]end // by container id
	changed chan struct{}  // closed and replaced by every change
}

// end is somebody who wants to know when a run of a container has ended.
type end struct {
	after uint64 // the last boundary that is known
	do    func()
}

func newTable() *table {
	t := &table{entries: map[string]*entry{}, ends: map[string]end{}, changed: make(chan struct{})}
	t.snap.Store(&Snapshot{})
	return t
}

func (t *table) snapshot() Snapshot { return *t.snap.Load() }

// publish makes the present state visible and wakes whoever waits for a change. The caller holds the lock.
func (t *table) publish() {
	s := &Snapshot{Up: t.up, At: t.at}
	if t.up {
		s.Containers = make([]runner.Container, 0, len(t.entries))
		for _, e := range t.entries {
			if e.listed {
				s.Containers = append(s.Containers, e.c)
			}
		}
		slices.SortFunc(s.Containers, func(a, b runner.Container) int { return strings.Compare(a.Name, b.Name) })
	}
	t.snap.Store(s)
	t.version.Add(1)
	maps.DeleteFunc(t.ends, func(id string, e end) bool {
		ended := t.ended(id, e.after)
		if ended {
			e.do()
		}
		return ended
	})
	close(t.changed)
	t.changed = make(chan struct{})
}

// seen records that the engine answered. It is no change, so nobody is woken.
func (t *table) seen(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at = now
	s := *t.snap.Load()
	s.At = now
	t.snap.Store(&s)
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

// event applies a new event: state, run boundaries and, if it is to be counted, counts. It reports whether that is all;
// otherwise a list is wanted for the details. A health event of a known container says all there is to know.
func (t *table) event(ev event, count bool, now time.Time) (complete bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.state(ev, now) {
		return false
	}
	e := t.entries[ev.id]
	if e != nil {
		switch ev.action {
		case actionStart:
			e.mark(true, ev.at, false)
			if count {
				e.c.Starts++
			}
		case actionDie:
			e.mark(false, ev.at, false)
		case actionOOM:
			if count {
				e.c.OOMKills++
			}
		}
	}
	t.at = now
	t.publish()
	return ev.health != "" && e.listed
}

// state applies what an event that came at a time says of the present, which may be done twice without harm. It reports
// whether the event can have changed anything.
func (t *table) state(ev event, came time.Time) bool {
	if ev.action == actionDestroy {
		delete(t.entries, ev.id)
		return true
	}
	e := t.entries[ev.id]
	if e == nil {
		if ev.action != actionStart && ev.action != actionDie && ev.action != actionOOM && ev.health == "" {
			return false // a list will show it
		}
		e = &entry{}
		e.c.ID = ev.id
		t.entries[ev.id] = e
	}
	switch ev.action {
	case actionStart:
		e.c.State = runner.StateRunning
		e.checked("")
		if e.probed {
			e.c.Health = runner.HealthStarting
		}
	case actionDie:
		e.c.State = runner.StateExited
		e.checked("")
		if ev.hasExitCode {
			e.c.ExitCode, e.c.Exited = ev.exitCode, true
		}
	case actionPause:
		if e.c.Health != "" {
			e.rested = e.c.Health
		}
		e.c.State, e.c.Health = runner.StatePaused, "" // health checks rest too
	case actionUnpause:
		e.wake(came)
	case actionRename:
		e.c.Name = ev.name
	default:
		if ev.health != "" {
			e.checked(ev.health)
			e.probed = true
		}
	}
	return true
}

// merge replaces the state by that of a list. The journal holds the events that the list may or may not include; their
// effect on the state is applied again, their counts are not.
//
// With resync, run boundaries that no event told are inferred from the list.
func (t *table) merge(list []listed, journal []heard, resync bool, now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	keep := make(map[string]bool, len(list)+len(journal))
	for i := range list {
		c := list[i].Container
		keep[c.ID] = true
		e := t.entries[c.ID]
		if e == nil {
			e = &entry{}
			t.entries[c.ID] = e
		}
		c.Starts, c.OOMKills = e.c.Starts, e.c.OOMKills
		e.probed = e.probed || c.Health != ""
		c.Health = e.relisted(c, now)
		if !c.Exited && e.c.Exited {
			c.ExitCode, c.Exited = e.c.ExitCode, true
		}
		if !e.listed {
			e.precede(c.Created)
		}
		e.c, e.listed = c, true
	}
	for _, ev := range journal {
		keep[ev.id] = true
		t.state(ev.event, ev.at)
	}
	maps.DeleteFunc(t.entries, func(id string, _ *entry) bool { return !keep[id] })
	if resync {
		for i := range list {
			if e := t.entries[list[i].ID]; e != nil {
				e.infer(list[i].began, now)
			}
		}
	}
	t.up, t.at = true, now
	t.publish()
}

// infer adds the boundaries that must lie between the last known one and the present state.
func (e *entry) infer(began, now time.Time) {
	first := len(e.runs) == 0
	switch runs := e.c.State == runner.StateRunning || e.c.State == runner.StatePaused; {
	case e.c.State == runner.StateCreated, runs == e.running() && !first:
	case runs && first:
		e.mark(true, e.c.Created, true)
		if began.After(e.c.Created.Add(createSlack)) {
			// It may have run before; those lines of its log belong to earlier runs.
			e.mark(false, began, true)
			e.mark(true, began, true)
		}
	case runs:
		e.mark(true, now, true)
	case first:
		e.mark(true, e.c.Created, true)
		e.mark(false, now, true)
	default:
		e.mark(false, now, true)
	}
}

// wait returns the channel that the next change closes. Whoever reads the state after this call misses nothing.
func (t *table) wait() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.changed
}

// runs returns the boundaries of a container after the given one, and whether the table knows the container.
func (t *table) runs(id string, after uint64) (bs []boundary, up, known bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.entries[id]
	if e == nil {
		return nil, t.up, false
	}
	for _, b := range e.runs {
		if b.seq > after {
			bs = append(bs, b)
		}
	}
	return bs, t.up, true
}

// runners returns the id of every runner container with its slot name, and whether the engine is up.
func (t *table) runners() (out map[string]string, up bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	out = map[string]string{}
	for id, e := range t.entries {
		if e.listed && e.c.Role == runner.RoleRunner && e.c.Runner != "" {
			out[id] = e.c.Runner
		}
	}
	return out, t.up
}

// whenEnded calls do, which must not block, once the container is gone or a run of it has ended after the given boundary. There
// is one caller for each container at a time, which must call stop before another one comes.
func (t *table) whenEnded(id string, after uint64, do func()) (stop func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended(id, after) {
		do()
		return func() {}
	}
	t.ends[id] = end{after, do}
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.ends, id)
	}
}

// ended reports whether the container is gone, or a run of it has ended after the given boundary. The caller holds the lock.
func (t *table) ended(id string, after uint64) bool {
	e := t.entries[id]
	return e == nil || slices.ContainsFunc(e.runs, func(b boundary) bool { return b.seq > after && !b.start })
}
