package journal

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Bounds of what is remembered.
const (
	MaxRecords  = 1000
	MaxRefusals = 500
	// MaxAge is how long a record is kept at most.
	MaxAge     = 90 * 24 * time.Hour
	maxRunners = 1000
	maxImages  = 2000
)

const keyPaused = "paused"

// Tx is a change of the state. Nothing of it is seen by [Store.State] before it is on disk. Each
// method writes to the transaction of the disk and to a draft of the state; the first error is
// returned by [Store.Update].
type Tx struct {
	disk   DiskTx
	id     int
	base   State // before this transaction
	draft  State
	copied map[string]bool // buckets whose map in draft is a copy
	err    error
}

// State is the state with the changes of this transaction.
func (t *Tx) State() *State { return &t.draft }

// own returns a map of the draft for writing: a copy, because readers have the original.
func own[K comparable, V any](t *Tx, bucket string, m *map[K]V) map[K]V {
	if !t.copied[bucket] {
		t.copied[bucket] = true
		*m = maps.Clone(*m)
	}
	return *m
}

func (t *Tx) put(bucket string, key []byte, value any) {
	b, err := json.Marshal(value)
	if err != nil { // only plain structs are put
		panic(fmt.Sprintf("journal: marshal a record of %s: %v", bucket, err))
	}
	t.write(bucket, key, b)
}

func (t *Tx) write(bucket string, key, value []byte) {
	if t.err == nil {
		t.err = t.disk.Put(bucket, key, value)
	}
}

func (t *Tx) remove(bucket string, key []byte) {
	if t.err == nil {
		t.err = t.disk.Delete(bucket, key)
	}
}

// Enqueue appends an alert to the inbox.
func (t *Tx) Enqueue(a Alert) {
	t.put(bucketInbox, formatKey(t.draft.nextSeq), a)
	t.draft.nextSeq++
	t.draft.Queue++
}

// Dequeue takes an alert out of the inbox.
func (t *Tx) Dequeue(seq uint64) {
	t.remove(bucketInbox, formatKey(seq))
	t.draft.Queue--
}

// PutRecord writes a record of an action and returns it. Without an id it is new and gets one.
func (t *Tx) PutRecord(r Record) Record {
	if r.ID == 0 {
		r.ID, r.Count = t.draft.nextID, 1
		t.draft.nextID++
	}
	records := own(t, bucketRecords, &t.draft.Records)
	records[r.ID] = r
	t.put(bucketRecords, formatKey(r.ID), r)
	if len(records) > MaxRecords {
		unfinished := t.draft.unfinished() // fewer than MaxRecords: one for each container
		for _, id := range slices.Sorted(maps.Keys(records)) {
			if !unfinished[id] {
				t.forget(records[id])
				break
			}
		}
	}
	return r
}

// Refuse writes a refusal and reports whether it is a new one: the same refusal again is one record
// with a higher count.
func (t *Tx) Refuse(r Record) (first bool) {
	r.Outcome, r.Count = Refused, 1
	refusals := own(t, bucketRefusals, &t.draft.Refusals)
	if old, ok := refusals[r.refusalKey()]; ok {
		r.ID, r.Began, r.Count = old.ID, old.Began, old.Count+1
	} else {
		r.ID = t.draft.nextID
		t.draft.nextID++
	}
	refusals[r.refusalKey()] = r
	t.put(bucketRefusals, formatKey(r.ID), r)
	if len(refusals) > MaxRefusals {
		all := slices.SortedFunc(maps.Values(refusals), older)
		for _, r := range all[:len(all)-MaxRefusals*9/10] { // several at once, not one each time
			t.forget(r)
		}
	}
	return r.Count == 1
}

// Sweep forgets what is too old. Records of unfinished actions stay.
func (t *Tx) Sweep(now time.Time) {
	unfinished := t.draft.unfinished()
	for _, r := range t.draft.History() {
		if now.Sub(r.At()) >= MaxAge && (r.Outcome == Refused || !unfinished[r.ID]) {
			t.forget(r)
		}
	}
}

func (t *Tx) forget(r Record) {
	if r.Outcome == Refused {
		delete(own(t, bucketRefusals, &t.draft.Refusals), r.refusalKey())
		t.remove(bucketRefusals, formatKey(r.ID))
		return
	}
	delete(own(t, bucketRecords, &t.draft.Records), r.ID)
	t.remove(bucketRecords, formatKey(r.ID))
}

// PutStart writes what is wanted of a container.
func (t *Tx) PutStart(p PendingStart) {
	own(t, bucketStarts, &t.draft.Starts)[p.Target] = p
	t.put(bucketStarts, []byte(p.Target), p)
}

// DeleteStart ends a pending start.
func (t *Tx) DeleteStart(target string) {
	delete(own(t, bucketStarts, &t.draft.Starts), target)
	t.remove(bucketStarts, []byte(target))
}

// PutBreaker writes the breaker of a runner; a closed one is removed.
func (t *Tx) PutBreaker(runner string, b Breaker) {
	breakers := own(t, bucketBreakers, &t.draft.Breakers)
	if b.State == Closed {
		delete(breakers, runner)
		t.remove(bucketBreakers, []byte(runner))
		return
	}
	breakers[runner] = b
	t.put(bucketBreakers, []byte(runner), b)
}

// AddFires adds to the watchdog fires of a runner. Adding none makes the runner known.
func (t *Tx) AddFires(runner string, n uint64) {
	fires := own(t, bucketFires, &t.draft.Fires)
	if _, known := fires[runner]; !known && len(fires) >= maxRunners {
		return
	}
	fires[runner] += n
	t.write(bucketFires, []byte(runner), binary.BigEndian.AppendUint64(nil, fires[runner]))
}

// SetPause writes a pause, or with the zero Pause none.
func (t *Tx) SetPause(p Pause) {
	t.draft.Pause = p
	t.put(bucketMeta, []byte(keyPaused), p)
}

// UseImage notes the last use of an image.
func (t *Tx) UseImage(id string, at time.Time) {
	used := own(t, bucketImages, &t.draft.ImageUse)
	used[id] = at
	t.write(bucketImages, []byte(id), []byte(at.UTC().Format(time.RFC3339Nano)))
	if len(used) <= maxImages {
		return
	}
	oldest := ""
	for other, t := range used {
		if other != id && (oldest == "" || t.Before(used[oldest])) {
			oldest = other
		}
	}
	delete(used, oldest)
	t.remove(bucketImages, []byte(oldest))
}
