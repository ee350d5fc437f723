package journal

import (
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.etcd.io/bbolt"
)

// TestWritesShareTransactions: what comes while the disk is busy is made durable together, with one sync for all of it.
func TestWritesShareTransactions(t *testing.T) {
	j, err := openJournal(filepath.Join(t.TempDir(), "journal.db"), time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := j.close(); err != nil {
			t.Error(err)
		}
	}()
	transactions := func() (id int) {
		_ = j.db.View(func(tx *bbolt.Tx) error { id = tx.ID(); return nil })
		return id
	}
	const writers = 100
	fewest := writers
	// How many of the writers have come by the time that the disk is free is up to the scheduler, so it is tried until most have.
	until(t, "the writes to share transactions", func() bool {
		busy, err := j.db.Begin(true)
		if err != nil {
			t.Fatal(err)
		}
		before := transactions()
		var wg sync.WaitGroup
		var come atomic.Int64
		for i := range uint64(writers) {
			wg.Go(func() {
				come.Add(1)
				if err := j.write(t.Context(), put(bucketInbox, seqKey(i), Alert{})); err != nil {
					t.Error(err)
				}
			})
		}
		until(t, "the writers to come", func() bool { return come.Load() == writers })
		if err := busy.Rollback(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		fewest = min(fewest, transactions()-before)
		return fewest <= writers/10
	})
	t.Logf("%d writes in %d transactions", writers, fewest)
}
