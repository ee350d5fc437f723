package listener

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// Slot is what is known about one runner slot at one moment. Its maps must not be modified.
type Slot struct {
	Runner string // name of the slot, such as "ci-runner-1"
	// CaughtUp says that the log was read to its present end.
	CaughtUp bool
	// Known says that State is of the present: CaughtUp, and at least one line has come. A log that
	// is damaged or cannot be read looks like that of a runner that does nothing.
	Known        bool
	State        State
	Counts       Counts
	LastFailures map[Reason]time.Time // by reason; absent: never
}

// Fleet keeps the Sessions of all runner slots of a machine. It is safe for concurrent use; the
// events of one container must come in order.
//
// A reader that starts replays the lines of the present run of each container. They restore the
// state and the times of failures, and are not counted: the counters live as long as the Fleet.
//
// If two containers have the name of one slot, the one that started last is the slot, and the
// events of the other are ignored.
type Fleet struct {
	jobDone func(time.Duration)

	mu    sync.Mutex
	slots map[string]*fleetSlot // bounded by the number of containers whose logs are followed
}

type fleetSlot struct {
	session   Session
	container string
	replaying bool
	read      bool // at least one line has come
}

// NewFleet returns an empty Fleet. jobDone, which may be nil, is called with the duration of each
// job whose end is counted.
func NewFleet(jobDone func(time.Duration)) *Fleet {
	return &Fleet{jobDone: jobDone, slots: make(map[string]*fleetSlot)}
}

// Started says that the container of a slot has started. With replay, its lines up to CaughtUp were
// written before the reader came.
func (f *Fleet) Started(runner, container string, replay bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := f.slots[runner]
	if s == nil {
		s = &fleetSlot{session: Session{jobDone: f.jobDone}}
		f.slots[strings.Clone(runner)] = s
	}
	s.session.ProcessChanged()
	s.container, s.replaying = container, replay
}

// Line takes one line that the container of a slot wrote at the given time.
func (f *Fleet) Line(runner, container string, at time.Time, line []byte) {
	f.with(runner, container, func(s *fleetSlot) {
		s.read = true
		s.session.line(at, line, !s.replaying)
	})
}

// CaughtUp says that the replay has ended: the lines that follow are new.
func (f *Fleet) CaughtUp(runner, container string) {
	f.with(runner, container, func(s *fleetSlot) { s.replaying = false })
}

// Ended says that the container of a slot has ended, and all its lines have come.
func (f *Fleet) Ended(runner, container string) {
	f.with(runner, container, func(s *fleetSlot) {
		s.session.ProcessChanged()
		s.replaying = false
	})
}

// Removed says that the container was removed. The slot goes with it, its counters too: a new
// container of the name begins at 0.
func (f *Fleet) Removed(runner, container string) {
	f.with(runner, container, func(*fleetSlot) { delete(f.slots, runner) })
}

// Slots returns every slot, sorted by name.
func (f *Fleet) Slots() []Slot {
	f.mu.Lock()
	defer f.mu.Unlock()
	slots := make([]Slot, 0, len(f.slots))
	for name, s := range f.slots {
		slots = append(slots, Slot{
			Runner: name, CaughtUp: !s.replaying, Known: s.read && !s.replaying,
			State: s.session.State(), Counts: s.session.Counts(), LastFailures: s.session.LastFailures(),
		})
	}
	slices.SortFunc(slots, func(a, b Slot) int { return strings.Compare(a.Runner, b.Runner) })
	return slots
}

// with calls do if the container is the slot's present one.
func (f *Fleet) with(runner, container string, do func(*fleetSlot)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.slots[runner]; s != nil && s.container == container {
		do(s)
	}
}
