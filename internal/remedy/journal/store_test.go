package journal

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

func now() Instant { return Instant{time.Now(), BootTime{"boot", time.Hour}} }

// opened is a store on a file.
func opened(t testing.TB, path string) *Store {
	t.Helper()
	s := New(Options{Logger: slog.New(slog.DiscardHandler), Path: path, Now: now})
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() }) // some tests have closed it
	return s
}

func update(t testing.TB, s *Store, fn func(*Tx)) {
	t.Helper()
	if err := s.Update(func(tx *Tx) error { fn(tx); return nil }); err != nil {
		t.Error(err)
	}
}

// TestUpdatesShareTransactions: updates that come while the disk is busy are made durable together,
// with one sync for all of them.
func TestUpdatesShareTransactions(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "journal.db"))
	db := s.disk.(bolt).db
	transactions := func() (id int) {
		_ = db.View(func(tx *bbolt.Tx) error { id = tx.ID(); return nil })
		return id
	}
	const writers = 100
	before := transactions()
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() { update(t, s, func(tx *Tx) { tx.Enqueue(Alert{}) }) })
	}
	wg.Wait()
	if n := transactions() - before; n > writers/2 {
		t.Errorf("%d updates in %d transactions", writers, n)
	}
	if got := s.State().Queue; got != writers {
		t.Errorf("%d alerts wait, want %d", got, writers)
	}
}

// TestUpdateIsAllOrNothing: what a refused update changed is seen nowhere, and the updates that
// shared its transaction are whole.
func TestUpdateIsAllOrNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "journal.db")
	s := opened(t, path)
	errNo := errors.New("no")
	var wg sync.WaitGroup
	var refused atomic.Int64
	const writers = 60
	for i := range writers {
		wg.Go(func() {
			err := s.Update(func(tx *Tx) error {
				tx.Enqueue(Alert{})
				tx.AddFires("ci-1", 1)
				tx.PutRecord(Record{Target: "ci-1"})
				if i%3 == 0 {
					return errNo
				}
				return nil
			})
			if errors.Is(err, errNo) {
				refused.Add(1)
			} else if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	check := func(s *State) {
		t.Helper()
		if refused.Load() != writers/3 || s.Queue != writers*2/3 || s.Fires["ci-1"] != writers*2/3 || len(s.Records) != writers*2/3 {
			t.Errorf("%d refused, %d in the queue, %d fires, %d records", refused.Load(), s.Queue, s.Fires["ci-1"], len(s.Records))
		}
	}
	check(s.State())
	if err := s.Err(); err != nil {
		t.Errorf("a refusal says nothing about the disk: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	check(opened(t, path).State())
}

// TestStateIsNeverChangedInPlace: who has read a state keeps it as it was.
func TestStateIsNeverChangedInPlace(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "journal.db"))
	fill := func(tx *Tx) {
		tx.PutRecord(Record{Target: "ci-1"})
		tx.Refuse(Record{Target: "ci-1"})
		tx.PutStart(PendingStart{Target: "ci-1"})
		tx.PutBreaker("ci-1", Breaker{State: Open})
		tx.AddFires("ci-1", 1)
		tx.UseImage("a", time.Now())
	}
	update(t, s, fill)
	old := s.State()
	before := fmt.Sprint(*old)
	update(t, s, func(tx *Tx) {
		fill(tx)
		tx.DeleteStart("ci-1")
		tx.PutBreaker("ci-1", Breaker{State: Closed})
		tx.Sweep(time.Now().Add(2 * MaxAge))
	})
	if after := fmt.Sprint(*old); after != before {
		t.Errorf("changed:\n%s\n%s", before, after)
	}
	if now := s.State(); len(now.Records)+len(now.Refusals)+len(now.Starts)+len(now.Breakers) > 0 {
		t.Errorf("left: %+v", now)
	}
}

// TestMemoryFollowsTheDisk: an update that could not be written is not seen.
func TestMemoryFollowsTheDisk(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "journal.db"))
	if err := s.Update(func(tx *Tx) error { tx.PutStart(PendingStart{}); return nil }); err == nil { // bbolt has no empty keys
		t.Fatal("written")
	}
	if n := len(s.State().Starts); n > 0 || s.Err() == nil {
		t.Errorf("%d pending starts are seen, error %v", n, s.Err())
	}
	s.Probe()
	if err := s.Err(); err != nil {
		t.Errorf("still broken: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Update(func(*Tx) error { return nil }); !errors.Is(err, ErrStopping) {
		t.Errorf("after the end: %v", err)
	}
}

// TestBrokenFile is a file that cannot be used: the error says so, and nothing crashes.
func TestBrokenFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := filepath.Join(dir, "good.db")
	s := opened(t, good)
	if _, err := OpenFile(good, 50*time.Millisecond); err == nil || !strings.Contains(err.Error(), "locked") {
		t.Errorf("locked: %v", err)
	}
	update(t, s, func(tx *Tx) {
		for range 500 {
			tx.PutRecord(Record{Detail: strings.Repeat("x", 400)})
		}
	})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	scribbled := append([]byte(nil), whole...)
	for i := 4 * os.Getpagesize(); i < len(scribbled); i++ {
		scribbled[i] ^= 0x5a
	}
	for name, path := range map[string]string{
		"garbage":   write("garbage.db", []byte(strings.Repeat("garbage ", 10_000))),
		"cut off":   write("cut.db", whole[:3*os.Getpagesize()]),
		"scribbled": write("scribbled.db", scribbled),
	} {
		d, err := OpenFile(path, time.Second)
		if err == nil {
			_ = d.Close()
			t.Errorf("%s: opened", name)
			continue
		}
		if !strings.Contains(err.Error(), "corrupt") || !strings.Contains(err.Error(), path) || !errors.Is(err, errCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestReserve is a file on a disk that has no space left: it has taken what it needs before.
func TestReserve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.db")
	taken := func() int64 {
		var st syscall.Stat_t
		if err := syscall.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks * 512
	}
	var first int64
	for range 2 { // opened again, it takes no more
		s := opened(t, path)
		if first == 0 {
			first = taken()
		}
		for i := range uint64(20) {
			update(t, s, func(tx *Tx) { tx.Enqueue(Alert{Summary: strings.Repeat("x", 10_000)}) })
			update(t, s, func(tx *Tx) { tx.Dequeue(i + 1); tx.PutRecord(Record{}) })
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := taken(); got != first {
		t.Errorf("the file takes %d bytes, and took %d at first", got, first)
	}
}

// TestRetention bounds history by number and age.
func TestRetention(t *testing.T) {
	s := opened(t, filepath.Join(t.TempDir(), "journal.db"))
	now := time.Now()
	add := func(tx *Tx, outcome Outcome, age time.Duration, bytes int) uint64 {
		rec := Record{Outcome: outcome, Began: now.Add(-age), Target: "ci-1", Evidence: []string{strings.Repeat("x", bytes)}}
		if outcome == Refused {
			rec.Alert.Fingerprint = age.String()
			tx.Refuse(rec)
			return 0
		}
		return tx.PutRecord(rec).ID
	}
	var unfinished, newest uint64
	update(t, s, func(tx *Tx) {
		unfinished = add(tx, Running, 200*24*time.Hour, 10)
		tx.PutStart(PendingStart{Target: "ci-1", Record: unfinished})
		add(tx, Completed, 91*24*time.Hour, 10)
		add(tx, Refused, 91*24*time.Hour, 10)
		newest = add(tx, Completed, 100*time.Minute, 100_000)
		tx.Sweep(now)
	})
	state := s.State()
	if n := len(state.Records) + len(state.Refusals); n != 2 {
		t.Errorf("%d are left, want the unfinished and the new one", n)
	}
	for _, id := range []uint64{unfinished, newest} {
		if _, ok := state.Records[id]; !ok {
			t.Errorf("record %d was forgotten", id)
		}
	}
	update(t, s, func(tx *Tx) {
		for i := range 2 * MaxRecords {
			add(tx, Completed, 0, 0)
			add(tx, Refused, time.Duration(i), 0)
		}
	})
	state = s.State()
	if len(state.Records) != MaxRecords || len(state.Refusals) > MaxRefusals {
		t.Errorf("%d records, %d refusals", len(state.Records), len(state.Refusals))
	}
	if _, ok := state.Records[unfinished]; !ok {
		t.Error("an unfinished action was forgotten")
	}
}
