package listener

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// savedFleet is what Save writes. The field names are its format: a change of it needs another version in whatever file
// it is kept.
type savedFleet struct {
	CountFrom time.Time
	Jobs      savedDurations
	Slots     []savedSlot // the longest forgotten first, those that are there last
}

type savedSlot struct {
	Runner            string
	State             State
	Counts            Counts
	Outage, OutageEnd time.Time
	Explained         bool
	Retried           bool
	Durations         savedDurations
}

type savedDurations struct {
	Count   uint64
	Sum     float64
	Buckets []uint64 // in the order of JobBounds
}

// Save writes down everything that the Fleet knows, at one moment between two events, for Restore.
func (f *Fleet) Save() ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := savedFleet{CountFrom: f.countFrom, Jobs: f.jobs.save(), Slots: make([]savedSlot, 0, len(f.slots))}
	names := slices.SortedFunc(maps.Keys(f.slots), func(a, b string) int {
		// A slot that is there has the number 0, less 1 is the greatest of all.
		return cmp.Or(cmp.Compare(f.slots[a].gone-1, f.slots[b].gone-1), cmp.Compare(a, b))
	})
	for _, name := range names {
		s := f.slots[name]
		out.Slots = append(out.Slots, savedSlot{
			Runner: name, State: s.session.state, Counts: s.session.Counts(),
			Outage: s.session.outage, OutageEnd: s.session.outageEnd, Explained: s.session.explained, Retried: s.session.retried,
			Durations: s.durations.save(),
		})
	}
	return json.Marshal(out)
}

// Restore makes an empty Fleet go on where that of Save was. All slots count as forgotten until something is heard of them,
// because the containers that were there may be gone. On an error the Fleet stays empty.
func (f *Fleet) Restore(data []byte) error {
	var in savedFleet
	if err := json.Unmarshal(data, &in); err != nil {
		return err
	}
	if in.CountFrom.IsZero() || len(in.Slots) > MaxSlots {
		return fmt.Errorf("no fleet: counting since %s, %d slots", in.CountFrom, len(in.Slots))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.countFrom, f.jobs, f.shown = in.CountFrom, in.Jobs.restore(), nil
	for i := range in.Slots {
		from := &in.Slots[i]
		s := f.add(from.Runner)
		f.forgotten++
		s.gone = f.forgotten
		s.durations = from.Durations.restore()
		s.session.state, s.session.counts = from.State, from.Counts
		s.session.outage, s.session.outageEnd, s.session.explained, s.session.retried = from.Outage, from.OutageEnd, from.Explained, from.Retried
		s.session.counts.JobsCompleted = only(Results(), from.Counts.JobsCompleted)
		s.session.counts.Failures = only(Reasons(), from.Counts.Failures)
	}
	return nil
}

// only copies what is counted by the keys that there are, whatever keys there were when it was saved.
func only[K comparable](keys []K, saved map[K]uint64) map[K]uint64 {
	m := zeros(keys)
	for _, k := range keys {
		m[k] = saved[k]
	}
	return m
}

func (d *Durations) save() savedDurations {
	s := savedDurations{Count: d.Count, Sum: d.Sum}
	for _, b := range JobBounds() {
		s.Buckets = append(s.Buckets, d.Buckets[b])
	}
	return s
}

// restore begins anew where the bounds were others.
func (s savedDurations) restore() Durations {
	bounds := JobBounds()
	if len(s.Buckets) != len(bounds) {
		return Durations{}
	}
	d := Durations{Count: s.Count, Sum: s.Sum, Buckets: zeros(bounds)}
	for i, b := range bounds {
		d.Buckets[b] = s.Buckets[i]
	}
	return d
}
