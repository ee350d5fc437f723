package listener

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// MaxSlots bounds how many slots a Fleet keeps; events of further slots are dropped. A machine has a handful.
const MaxSlots = 1024

// Slot is what is known about one runner slot at one moment.
type Slot struct {
	Runner       string // name of the slot, such as "ci-runner-1"
	State        State
	Counts       Counts
	JobDurations Durations // jobs of this slot; for a metric without the runner label use Fleet.JobDurations
}

// Fleet keeps the Sessions of all runner slots of a machine. It is safe for concurrent use; the events of one slot must
// come in order.
//
// A reader of logs that has just started replays what was logged before, to learn what the slots are doing now. Such
// lines restore the state, but counting them would make the counters jump with every start of the reader. So lines
// written before countFrom are not counted. As long as the replay of a slot lasts (see Replaying) it is not shown, because
// what is known of it is of the past.
//
// A slot that is forgotten is not shown either, but its counters are kept in case it comes back, which is what a container
// does that is created anew: so nothing that is counted by increase() is lost or counted twice.
type Fleet struct {
	mu        sync.Mutex
	countFrom time.Time
	slots     map[string]*fleetSlot
	jobs      Durations // of all slots ever, so that dropping a slot never lets the histogram go backwards
	forgotten uint64    // how often Forget was called
	shown     []Slot    // what Slots returned last; nil: something has changed since
}

type fleetSlot struct {
	session   Session
	durations Durations
	replaying bool
	gone      uint64 // the number of the Forget that hides it; 0: it is there
}

// NewFleet returns an empty Fleet that counts lines written at countFrom or later.
func NewFleet(countFrom time.Time) *Fleet {
	return &Fleet{countFrom: countFrom, slots: make(map[string]*fleetSlot)}
}

// Replaying tells that what comes next for a slot was logged in the past (on), or that all of it has come.
func (f *Fleet) Replaying(runner string, on bool) {
	f.with(runner, func(s *fleetSlot) { s.replaying = on })
}

// Started tells that the process of a slot's container has started. The slot is known from then on.
func (f *Fleet) Started(runner string, at time.Time) {
	f.with(runner, func(s *fleetSlot) { s.session.Started(at) })
}

// Line takes one line that the container of a slot wrote at the given time.
func (f *Fleet) Line(runner string, at time.Time, line []byte) {
	f.with(runner, func(s *fleetSlot) { s.session.line(at, line, !at.Before(f.countFrom)) })
}

// Skipped does what Line does for that many lines of Noise, the last of which was written at the given time.
func (f *Fleet) Skipped(runner string, at time.Time, lines uint64) {
	f.with(runner, func(s *fleetSlot) {
		if !at.Before(f.countFrom) {
			s.session.counts.LogLines += lines
		}
	})
}

// Ended tells that the process of a slot's container has ended. What was counted stays.
func (f *Fleet) Ended(runner string, at time.Time) {
	f.with(runner, func(s *fleetSlot) { s.session.Ended(at) })
}

// Forget hides a slot, because its container was removed.
func (f *Fleet) Forget(runner string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.slots[runner]; s != nil {
		f.forgotten++
		s.gone, s.replaying = f.forgotten, false
		f.shown = nil
	}
}

// CountAnew sets the counters of a slot, and the durations of all jobs, to 0, and leaves the state of the slot as it is.
func (f *Fleet) CountAnew(runner string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.slots[runner]; s != nil {
		s.session.counts, s.durations = Counts{}, Durations{}
		f.jobs, f.shown = Durations{}, nil
	}
}

// Slots returns every slot that is there, sorted by name. The slice is shared by everybody who asked: nobody may change it.
func (f *Fleet) Slots() []Slot {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shown != nil {
		return f.shown
	}
	f.shown = make([]Slot, 0, len(f.slots))
	for name, s := range f.slots {
		if s.gone == 0 && !s.replaying {
			f.shown = append(f.shown, Slot{Runner: name, State: s.session.State(), Counts: s.session.Counts(), JobDurations: s.durations.known()})
		}
	}
	slices.SortFunc(f.shown, func(a, b Slot) int { return strings.Compare(a.Runner, b.Runner) })
	return f.shown
}

// JobDurations returns the durations of the counted jobs of all slots, also of those that were forgotten. Buckets is nil
// while a slot is replaying: then the sum is one of the past.
func (f *Fleet) JobDurations() Durations {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, s := range f.slots {
		if s.replaying {
			return Durations{}
		}
	}
	return f.jobs.known()
}

func (f *Fleet) with(runner string, do func(*fleetSlot)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.slots[runner]
	if !ok {
		if len(f.slots) >= MaxSlots && !f.drop() {
			return
		}
		s = f.add(strings.Clone(runner))
	}
	s.gone, f.shown = 0, nil
	do(s)
}

func (f *Fleet) add(runner string) *fleetSlot {
	s := &fleetSlot{}
	s.session.jobDone = func(took time.Duration) {
		s.durations.observe(took)
		f.jobs.observe(took)
	}
	f.slots[runner] = s
	return s
}

// drop makes room: the slot that was forgotten longest ago goes.
func (f *Fleet) drop() bool {
	oldest := ""
	for name, s := range f.slots {
		if s.gone != 0 && (oldest == "" || s.gone < f.slots[oldest].gone) {
			oldest = name
		}
	}
	delete(f.slots, oldest)
	return len(f.slots) < MaxSlots
}
