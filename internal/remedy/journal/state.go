package journal

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

const (
	bucketMeta     = "meta"     // version, paused
	bucketInbox    = "inbox"    // seq → Alert: accepted, not yet decided
	bucketRecords  = "records"  // id → Record of an action
	bucketRefusals = "refusals" // id → Record of a refusal
	bucketStarts   = "debts"    // target → PendingStart
	bucketBreakers = "breakers" // runner → Breaker
	bucketFires    = "fires"    // runner → watchdog fires, 8 bytes
	bucketImages   = "images"   // image id → time of its last use
)

// Buckets lists the buckets of the file.
var Buckets = []string{
	bucketMeta, bucketInbox, bucketRecords, bucketRefusals, bucketStarts, bucketBreakers, bucketFires, bucketImages,
}

// State is what the journal holds, but for the alerts in the inbox, which stay on disk. It is
// read-only.
type State struct {
	Pause    Pause
	Queue    int                     // alerts in the inbox
	Records  map[uint64]Record       // actions, by id
	Refusals map[string]Record       // by what makes them equal
	Starts   map[string]PendingStart // by target
	Breakers map[string]Breaker      // by runner; closed ones are absent
	Fires    map[string]uint64       // by runner; every known runner is present
	ImageUse map[string]time.Time    // last use of images, by id

	nextSeq, nextID uint64 // of the inbox, of records and refusals
}

func newState() State {
	return State{
		Records: map[uint64]Record{}, Refusals: map[string]Record{}, Starts: map[string]PendingStart{},
		Breakers: map[string]Breaker{}, Fires: map[string]uint64{}, ImageUse: map[string]time.Time{},
		nextSeq: 1, nextID: 1,
	}
}

// load reads the state. Times get the monotonic reading of this process; no wait becomes longer
// than it was meant to be.
func load(d Disk, now Instant) (State, error) {
	s := newState()
	for bucket, read := range s.readers(now) {
		err := d.Each(bucket, nil, func(k, v []byte) (bool, error) { return true, read(string(k), v) })
		if err != nil {
			return s, fmt.Errorf("%w: read %s: %w", errJournal, bucket, err)
		}
	}
	s.failInterrupted()
	return s, nil
}

func (s *State) readers(now Instant) map[string]func(k string, v []byte) error {
	return map[string]func(k string, v []byte) error{
		bucketMeta: func(k string, v []byte) error {
			if k == keyPaused {
				return s.loadPause(v, now)
			}
			return nil
		},
		bucketInbox: func(k string, _ []byte) error {
			seq, err := parseKey([]byte(k))
			s.nextSeq = max(s.nextSeq, seq+1)
			s.Queue++
			return err
		},
		bucketRecords: func(_ string, v []byte) error {
			r, err := s.loadRecord(v, now)
			s.Records[r.ID] = r
			return err
		},
		bucketRefusals: func(_ string, v []byte) error {
			r, err := s.loadRecord(v, now)
			s.Refusals[r.refusalKey()] = r
			return err
		},
		bucketStarts: func(k string, v []byte) error {
			var p PendingStart
			err := json.Unmarshal(v, &p)
			if now.rebooted(p.Instant) { // everything on the machine was down
				p.Phase = PhaseDown
			}
			p.Instant, p.Length = now.rebase(p.Instant), max(p.Length, 0)
			s.Starts[k] = p
			return err
		},
		bucketBreakers: func(k string, v []byte) error {
			var b Breaker
			err := json.Unmarshal(v, &b)
			b.Instant, b.Length = now.rebase(b.Instant), max(b.Length, 0)
			s.Breakers[k] = b
			return err
		},
		bucketFires: func(k string, v []byte) error {
			if len(v) != 8 {
				return fmt.Errorf("counter %q has %d bytes", k, len(v))
			}
			s.Fires[k] = binary.BigEndian.Uint64(v)
			return nil
		},
		bucketImages: func(k string, v []byte) error {
			var t time.Time
			err := t.UnmarshalText(v)
			s.ImageUse[k] = now.past(t)
			return err
		},
	}
}

func (s *State) loadRecord(v []byte, now Instant) (Record, error) {
	var r Record
	if err := json.Unmarshal(v, &r); err != nil {
		return r, err
	}
	s.nextID = max(s.nextID, r.ID+1)
	r.Began, r.Ended = now.past(r.Began), now.past(r.Ended)
	return r, nil
}

// loadPause reads a pause. Older versions wrote "0", "1" or its end and length.
func (s *State) loadPause(v []byte, now Instant) error {
	if !strings.HasPrefix(string(v), "{") {
		s.Pause = Pause{On: string(v) == "1"}
		return nil
	}
	old := struct{ Until time.Time }{}
	if err := json.Unmarshal(v, &s.Pause); err != nil {
		return err
	}
	if err := json.Unmarshal(v, &old); err == nil && !old.Until.IsZero() {
		s.Pause.On, s.Pause.Time = true, old.Until.Add(-s.Pause.Length)
	}
	s.Pause.Instant = now.rebase(s.Pause.Instant)
	return nil
}

// failInterrupted concludes the actions that were interrupted and have no pending start.
func (s *State) failInterrupted() {
	unfinished := s.unfinished()
	for id, r := range s.Records {
		if r.Outcome == Running && !unfinished[id] {
			r.Outcome, r.Reason, r.Detail, r.Ended = Failed, "not_verified", "the program ended in the middle of it", r.Began
			s.Records[id] = r
		}
	}
}

func (s *State) unfinished() map[uint64]bool {
	out := make(map[uint64]bool, len(s.Starts))
	for _, p := range s.Starts {
		out[p.Record] = true
	}
	return out
}

// Concluded reports whether the record of a pending start has its outcome.
func (s *State) Concluded(p PendingStart) bool {
	r, ok := s.Records[p.Record]
	return !ok || r.Outcome != Running
}

// History returns what happened, the newest first.
func (s *State) History() []Record {
	out := slices.AppendSeq(make([]Record, 0, len(s.Records)+len(s.Refusals)), maps.Values(s.Records))
	out = slices.AppendSeq(out, maps.Values(s.Refusals))
	slices.SortFunc(out, func(a, b Record) int { return older(b, a) })
	return out
}

// Last returns the record of an action on a target that was begun last, among those that match.
func (s *State) Last(target string, match func(Record) bool) (last Record, found bool) {
	for _, r := range s.Records {
		if r.Target == target && r.ID >= last.ID && match(r) {
			last, found = r, true
		}
	}
	return last, found
}

// LastDecisions returns, for each action and target, the latest record of having acted and the
// latest refusal: repeats of an alert that was acted on are refused, and that must not hide what
// was done. Alerts whose target was never found are left out, so an alert cannot make series.
func (s *State) LastDecisions() []Record {
	type key struct {
		action, target string
		refused        bool
	}
	last := map[key]Record{}
	for _, r := range s.History() { // the newest first
		k := key{r.Action, r.Target, r.Outcome == Refused}
		if _, newer := last[k]; !newer && r.Target != "" {
			last[k] = r
		}
	}
	return slices.Collect(maps.Values(last))
}

func formatKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func parseKey(k []byte) (uint64, error) {
	if len(k) != 8 {
		return 0, fmt.Errorf("a key of %d bytes, want 8", len(k))
	}
	return binary.BigEndian.Uint64(k), nil
}
