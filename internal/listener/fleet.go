package listener

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// MaxSlots bounds how many slots a Fleet keeps; events of further slots are dropped. A machine has a handful.
const MaxSlots = 1024

// Durations is a histogram of how long jobs took, in the form that Prometheus wants: cumulative counts by upper bound in
// seconds.
type Durations struct {
	Count   uint64
	Sum     float64 // seconds
	Buckets map[float64]uint64
}

// JobBounds are the upper bounds, in seconds, of the buckets of Durations.
func JobBounds() []float64 {
	return []float64{5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600}
}

func (d *Durations) observe(took time.Duration) {
	d.init()
	seconds := took.Seconds()
	d.Count++
	d.Sum += seconds
	for _, b := range JobBounds() {
		if seconds <= b {
			d.Buckets[b]++
		}
	}
}

func (d *Durations) init() {
	if d.Buckets != nil {
		return
	}
	d.Buckets = make(map[float64]uint64, len(JobBounds()))
	for _, b := range JobBounds() {
		d.Buckets[b] = 0
	}
}

func (d *Durations) clone() Durations {
	d.init()
	return Durations{Count: d.Count, Sum: d.Sum, Buckets: maps.Clone(d.Buckets)}
}

// Slot is a copy of what is known about one runner slot.
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
// written before countFrom are not counted.
type Fleet struct {
	countFrom time.Time

	mu    sync.Mutex
	slots map[string]*fleetSlot
	jobs  Durations // of all slots ever, so that forgetting a slot never lets the histogram go backwards
}

type fleetSlot struct {
	session   Session
	durations Durations
}

// NewFleet returns an empty Fleet that counts lines written at countFrom or later.
func NewFleet(countFrom time.Time) *Fleet {
	return &Fleet{countFrom: countFrom, slots: make(map[string]*fleetSlot)}
}

// Started tells that the process of a slot's container has started. The slot is known from then on.
func (f *Fleet) Started(runner string, at time.Time) {
	f.with(runner, func(s *fleetSlot) { s.session.Started(at) })
}

// Line takes one line that the container of a slot wrote at the given time.
func (f *Fleet) Line(runner string, at time.Time, line []byte) {
	f.with(runner, func(s *fleetSlot) { s.session.line(at, line, !at.Before(f.countFrom)) })
}

// Ended tells that the process of a slot's container has ended. What was counted stays.
func (f *Fleet) Ended(runner string, at time.Time) {
	f.with(runner, func(s *fleetSlot) { s.session.Ended(at) })
}

// Forget removes a slot, because its container was removed.
func (f *Fleet) Forget(runner string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.slots, runner)
}

// Slots returns a copy of every slot, sorted by name.
func (f *Fleet) Slots() []Slot {
	f.mu.Lock()
	defer f.mu.Unlock()
	slots := make([]Slot, 0, len(f.slots))
	for name, s := range f.slots {
		slots = append(slots, Slot{
			Runner: name, State: s.session.State(), Counts: s.session.Counts(), JobDurations: s.durations.clone(),
		})
	}
	slices.SortFunc(slots, func(a, b Slot) int { return strings.Compare(a.Runner, b.Runner) })
	return slots
}

// JobDurations returns the durations of the counted jobs of all slots, also of those that were forgotten.
func (f *Fleet) JobDurations() Durations {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.jobs.clone()
}

func (f *Fleet) with(runner string, do func(*fleetSlot)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s, ok := f.slots[runner]
	if !ok {
		if len(f.slots) >= MaxSlots {
			return
		}
		s = &fleetSlot{}
		s.session.jobDone = func(took time.Duration) {
			s.durations.observe(took)
			f.jobs.observe(took)
		}
		f.slots[strings.Clone(runner)] = s
	}
	do(s)
}
