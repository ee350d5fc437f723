package remedy

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"iter"
	"maps"
	"slices"
	"time"
)

// Bounds of what is remembered.
const (
	maxRecords   = 1000
	maxRefusals  = 500
	maxRunners   = 1000
	recordMaxAge = 90 * 24 * time.Hour
	// maxHistory bounds records and refusals together, in bytes.
	maxHistory = 8 << 20
	// sweepInterval is the time between two looks at their age and size.
	sweepInterval = time.Minute
)

// state is what the journal holds, in memory. Remediator.mu guards it.
type state struct {
	paused bool
	// pausedUntil is when the pause ends by itself; zero: it does not.
	pausedUntil time.Time
	queue       int                     // alerts in the inbox, or on their way there
	pending     map[string]pendingAlert // keys of the alerts in the inbox
	records     map[uint64]Record       // actions
	refusals    map[string]Record       // by refusalKey
	debts       map[string]*Debt        // by target; replaced, never changed in place
	breakers    map[string]Breaker      // by runner; closed ones are absent
	fires       map[string]uint64       // by runner; every known runner is present
	last        map[string]time.Time
	done        map[string]time.Time // alerts acted on, by Alert.key
	used        map[string]time.Time // last use of images, by id

	heartbeat time.Time
	swept     time.Time // when history was last brought within its age and size
	nextSeq   uint64    // of the inbox
	nextID    uint64    // of records and refusals
}

func newState() state {
	return state{
		pending: map[string]pendingAlert{}, records: map[uint64]Record{}, refusals: map[string]Record{},
		debts: map[string]*Debt{}, breakers: map[string]Breaker{}, fires: map[string]uint64{},
		last: map[string]time.Time{}, done: map[string]time.Time{},
		used: map[string]time.Time{}, nextSeq: 1, nextID: 1,
	}
}

func lastKey(action, target string) string { return action + "|" + target }

// refusalKey is what makes two refusals the same line of history.
func refusalKey(r Record) string {
	return r.Alert.Fingerprint + "|" + r.Action + "|" + r.Target + "|" + r.Reason
}

// restore reads the state from the journal. Times become monotonic here: one in the
// future of now (the wall clock jumped back) counts as now, and no wait is longer
// than it was meant to be.
func restore(j store, now moment) (state, error) {
	s := newState()
	past := func(t time.Time) time.Time { return now.Add(-max(now.Sub(t), 0)) }
	read := func(bucket []byte, fn func(k, v []byte) error) error {
		err := j.each(bucket, nil, func(k, v []byte) (bool, error) { return true, fn(k, v) })
		if err != nil {
			return fmt.Errorf("%w: read %s: %w", errJournal, bucket, err)
		}
		return nil
	}
	record := func(v []byte) (Record, error) {
		var r Record
		if err := json.Unmarshal(v, &r); err != nil {
			return r, err
		}
		if r.V > recordVersion {
			return r, fmt.Errorf("record %d has version %d, this program knows %d", r.ID, r.V, recordVersion)
		}
		s.nextID = max(s.nextID, r.ID+1)
		return r, nil
	}
	times := func(into map[string]time.Time) func(k, v []byte) error {
		return func(k, v []byte) error {
			var t time.Time
			if err := t.UnmarshalText(v); err != nil {
				return err
			}
			into[string(k)] = past(t)
			return nil
		}
	}
	for _, step := range []struct {
		bucket []byte
		fn     func(k, v []byte) error
	}{
		{bucketMeta, func(k, v []byte) error {
			if bytes.Equal(k, keyPaused) {
				return s.restorePause(v, now.Time)
			}
			return nil
		}},
		{bucketInbox, func(k, v []byte) error {
			seq, err := keySeq(k)
			if err != nil {
				return err
			}
			var a Alert
			if err := json.Unmarshal(v, &a); err != nil {
				return err
			}
			s.nextSeq = max(s.nextSeq, seq+1)
			s.queue++
			s.pending[a.key()] = pendingAlert{seq, true}
			return nil
		}},
		{bucketRecords, func(_, v []byte) error {
			r, err := record(v)
			if err != nil {
				return err
			}
			s.records[r.ID] = r
			s.done[r.Alert.key()] = past(r.at())
			return nil
		}},
		{bucketRefusals, func(_, v []byte) error {
			r, err := record(v)
			if err != nil {
				return err
			}
			s.refusals[refusalKey(r)] = r
			return nil
		}},
		{bucketDebts, func(k, v []byte) error {
			var d Debt
			if err := json.Unmarshal(v, &d); err != nil {
				return err
			}
			d.due = now.Add(now.remaining(d.Since, d.Mark, d.Length))
			d.StartAt = d.due
			s.debts[string(k)] = &d
			return nil
		}},
		{bucketBreakers, func(k, v []byte) error {
			var b Breaker
			if err := json.Unmarshal(v, &b); err != nil {
				return err
			}
			if b.State == HalfOpen {
				b.Closes = now.Add(now.remaining(b.Since, b.Mark, b.Closes.Sub(b.Since)))
				b.Until = now.Add(-max(now.since(b.Since, b.Mark), now.Sub(b.Until))) // in the past
			} else {
				b.Until = now.Add(now.remaining(b.Since, b.Mark, b.Length))
			}
			s.breakers[string(k)] = b
			return nil
		}},
		{bucketFires, func(k, v []byte) error {
			if len(v) != 8 {
				return fmt.Errorf("counter %q has %d bytes", k, len(v))
			}
			s.fires[string(k)] = binary.BigEndian.Uint64(v)
			return nil
		}},
		{bucketLast, times(s.last)},
		{bucketImages, times(s.used)},
	} {
		if err := read(step.bucket, step.fn); err != nil {
			return s, err
		}
	}
	owed := s.owed()
	for id, r := range s.records {
		if r.Outcome == OutcomeRunning && !owed[id] { // nobody will finish it
			r.Outcome, r.Reason, r.Detail, r.Ended = OutcomeFailed, FailVerify, "the program ended in the middle of it", r.Began
			s.records[id] = r
		}
	}
	return s, nil
}

// owed returns the records of unfinished actions.
func (s *state) owed() map[uint64]bool {
	out := make(map[uint64]bool, len(s.debts))
	for _, d := range s.debts {
		out[d.Record] = true
	}
	return out
}

// inVain counts the last attempts in a row that were done and could not be verified.
func (s *state) inVain(action, target string) int {
	var helped uint64 // the last one that ended otherwise
	var vain []uint64
	for id, r := range s.records {
		switch {
		case r.Action != action || r.Target != target || r.Outcome == OutcomeRunning:
		case r.Reason == FailVerify:
			vain = append(vain, id)
		default:
			helped = max(helped, id)
		}
	}
	return len(slices.DeleteFunc(vain, func(id uint64) bool { return id < helped }))
}

// evict returns the deletions that bring history back within its bounds: a number, and now and then an age and a size.
// Records of unfinished actions stay.
func (s *state) evict(now time.Time) []write {
	var out []write
	if over := len(s.records) - maxRecords; over > 0 {
		unfinished := s.owed()
		for _, id := range slices.Sorted(maps.Keys(s.records)) {
			if over > 0 && !unfinished[id] {
				out = append(out, s.forget(s.records[id]))
				over--
			}
		}
	}
	if len(s.refusals) > maxRefusals {
		all := slices.SortedFunc(maps.Values(s.refusals), older)
		for _, r := range all[:len(all)-maxRefusals*9/10] { // some at once, not one each time
			out = append(out, s.forget(r))
		}
	}
	if now.Sub(s.swept).Abs() >= sweepInterval {
		s.swept = now
		out = append(out, s.sweep(now)...)
	}
	return out
}

// sweep forgets what is too old, and the oldest of what is too much.
func (s *state) sweep(now time.Time) []write {
	var out []write
	unfinished := s.owed()
	kept := 0
	for _, r := range s.history(len(s.records) + len(s.refusals)) { // the newest first
		kept += r.weight()
		if unfinished[r.ID] && r.Outcome != OutcomeRefused {
			continue
		}
		if kept > maxHistory || now.Sub(r.at()) >= recordMaxAge {
			out = append(out, s.forget(r))
		}
	}
	return out
}

// forget takes a record out of history and returns the deletion.
func (s *state) forget(r Record) write {
	if r.Outcome == OutcomeRefused {
		delete(s.refusals, refusalKey(r))
		return del(bucketRefusals, seqKey(r.ID))
	}
	delete(s.records, r.ID)
	return del(bucketRecords, seqKey(r.ID))
}

// history returns a copy of what happened, the newest first.
func (s *state) history(limit int) []Record {
	out := slices.AppendSeq(make([]Record, 0, len(s.records)+len(s.refusals)), maps.Values(s.records))
	out = slices.AppendSeq(out, maps.Values(s.refusals))
	slices.SortFunc(out, func(a, b Record) int { return older(b, a) })
	return out[:min(limit, len(out))]
}

// lastDecisions returns, for each action and target, the latest record of having acted and the latest refusal: repeats of
// an alert that was acted on are refused, and that must not hide what was done. Alerts whose target was never found are left
// out, so an alert cannot make series.
func (s *state) lastDecisions() []Record {
	type key struct {
		action, target string
		refused        bool
	}
	last := map[key]Record{}
	for _, all := range []iter.Seq[Record]{maps.Values(s.records), maps.Values(s.refusals)} {
		for r := range all {
			k := key{r.Action, r.Target, r.Outcome == OutcomeRefused}
			if r.Target != "" && older(last[k], r) < 0 {
				last[k] = r
			}
		}
	}
	return slices.Collect(maps.Values(last))
}

// older compares two records by the last thing that happened; the number decides between equal times.
func older(a, b Record) int {
	return cmp.Or(a.at().Compare(b.at()), cmp.Compare(a.ID, b.ID))
}

// at is the time that a record is sorted by: the last thing that happened.
func (r Record) at() time.Time {
	if r.Ended.IsZero() {
		return r.Began
	}
	return r.Ended
}
