package remedy

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// The buckets of the journal.
var (
	bucketMeta     = []byte("meta")     // version, paused
	bucketInbox    = []byte("inbox")    // seq → Alert: accepted, not yet decided
	bucketRecords  = []byte("records")  // id → Record of an action
	bucketRefusals = []byte("refusals") // id → Record of a refusal
	bucketDebts    = []byte("debts")    // target → Debt
	bucketBreakers = []byte("breakers") // runner → Breaker
	bucketFires    = []byte("fires")    // runner → watchdog fires, 8 bytes
	bucketLast     = []byte("last")     // action|target → time of the last attempt
	bucketImages   = []byte("images")   // image id → time of its last use
)

var allBuckets = [][]byte{
	bucketMeta, bucketInbox, bucketRecords, bucketRefusals, bucketDebts, bucketBreakers, bucketFires, bucketLast,
	bucketImages,
}

// errJournal marks every error of the journal.
var errJournal = errors.New("journal")

// write is one change: a key set, or deleted if value is nil.
type write struct {
	bucket, key, value []byte
	// first says that a value that is there already stays.
	first bool
}

// journal is the bbolt file. Writes of callers that come at the same time share
// one transaction, and so one fsync.
type journal struct {
	db      *bbolt.DB
	commits chan *commit
	stopped chan struct{}
}

type commit struct {
	writes []write
	err    chan error
}

// maxGroup bounds the writes that share a transaction.
const maxGroup = 20_000

// errCorrupt is a file that is no sound journal. It needs a person: bbolt may keep
// its lock after such a failure, so the same file is not opened again.
var errCorrupt = errors.New("is corrupt; move it away to start with an empty one")

// openJournal opens or creates the file and reads every entry of it, so that a
// damaged one is found now and not in the middle of an action. The free list is
// kept on disk, and bbolt's own check not used, because both work in goroutines
// of their own, where the fault of reading a damaged file ends the program.
func openJournal(path string, timeout time.Duration) (j *journal, err error) {
	old := debug.SetPanicOnFault(true) // a truncated file is a fault in the mapping
	defer debug.SetPanicOnFault(old)
	defer func() {
		if r := recover(); r != nil {
			j, err = nil, fmt.Errorf("%w %s %w: %v", errJournal, path, errCorrupt, r)
		}
	}()
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{
		Timeout: timeout, FreelistType: bbolt.FreelistMapType,
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w %s is locked by another process; is a second remediator running?", errJournal, path)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w %s %w: %w", errJournal, path, errCorrupt, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return nil, fmt.Errorf("%w %s cannot be written: %w; make %s writable for user %d", errJournal, path, err, filepath.Dir(path), os.Getuid())
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w %s: %w; create %s", errJournal, path, err, filepath.Dir(path))
	case err != nil:
		return nil, fmt.Errorf("%w %s: %w", errJournal, path, err)
	}
	opened := false
	defer func() {
		if !opened {
			_ = db.Close()
		}
	}()
	if info, err := os.Stat(path); err == nil && info.Size()%int64(os.Getpagesize()) != 0 {
		return nil, fmt.Errorf("%w %s %w: its size of %d bytes is no multiple of a page", errJournal, path, errCorrupt, info.Size())
	}
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(_, _ []byte) error { return nil })
		})
	})
	if err != nil {
		return nil, fmt.Errorf("%w %s %w: %w", errJournal, path, errCorrupt, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range allBuckets {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		meta := tx.Bucket(bucketMeta)
		if v := meta.Get([]byte("version")); v != nil && string(v) != "1" {
			return fmt.Errorf("has version %q, this program knows 1", v)
		}
		return meta.Put([]byte("version"), []byte("1"))
	})
	if err != nil {
		return nil, fmt.Errorf("%w %s: %w", errJournal, path, err)
	}
	_ = reserve(db) // on a disk that is full already the first write says so
	opened = true
	j = &journal{db: db, commits: make(chan *commit), stopped: make(chan struct{})}
	go j.group()
	return j, nil
}

// reserved is how many bytes of the file are made free for later writes; half of it
// left is enough.
const reserved = 1 << 20

// reserve lets the file take room now that later writes fill: on a disk without any
// space left an intent must still find a place, or nothing would ever be pruned.
func reserve(db *bbolt.DB) error {
	if db.Stats().FreePageN*db.Info().PageSize >= reserved/2 {
		return nil
	}
	key := []byte("reserve")
	return errors.Join(
		db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Put(key, make([]byte, reserved)) }),
		db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucketMeta).Delete(key) }),
	)
}

// group is the only writer. While one transaction is synced, the next gathers.
func (j *journal) group() {
	defer close(j.stopped)
	debug.SetPanicOnFault(true)
	for first := range j.commits {
		batch, n := []*commit{first}, len(first.writes)
	gather:
		for n < maxGroup {
			select {
			case c, ok := <-j.commits:
				if !ok {
					break gather
				}
				batch, n = append(batch, c), n+len(c.writes)
			default:
				break gather
			}
		}
		err := j.apply(batch)
		for _, c := range batch {
			c.err <- err
		}
	}
}

func (j *journal) apply(batch []*commit) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w is damaged: %v", errJournal, r)
		}
	}()
	err = j.db.Update(func(tx *bbolt.Tx) error {
		for _, c := range batch {
			for _, w := range c.writes {
				b := tx.Bucket(w.bucket)
				var err error
				switch {
				case w.value == nil:
					err = b.Delete(w.key)
				case !w.first || b.Get(w.key) == nil:
					err = b.Put(w.key, w.value)
				}
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w cannot be written: %w", errJournal, err)
	}
	return nil
}

// write makes the changes durable, all or none. It returns when they are on disk.
// A caller that gives up must assume that they are.
func (j *journal) write(ctx context.Context, writes ...write) error {
	if len(writes) == 0 {
		return nil
	}
	c := &commit{writes: writes, err: make(chan error, 1)}
	select {
	case j.commits <- c:
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errJournal, ctx.Err())
	}
	return <-c.err
}

// close ends the writer. No write may come after it.
func (j *journal) close() error {
	close(j.commits)
	<-j.stopped
	return j.db.Close()
}

// each calls fn with every entry of a bucket from key on, until fn returns false.
func (j *journal) each(bucket, from []byte, fn func(k, v []byte) (bool, error)) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w is damaged: %v", errJournal, r)
		}
	}()
	return j.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket(bucket).Cursor()
		for k, v := c.Seek(from); k != nil; k, v = c.Next() {
			more, err := fn(k, v)
			if err != nil || !more {
				return err
			}
		}
		return nil
	})
}

// put is a write of a record as JSON.
func put(bucket, key []byte, value any) write {
	b, err := json.Marshal(value)
	if err != nil { // only plain structs are put
		panic(fmt.Sprintf("remedy: marshal a record of %s: %v", bucket, err))
	}
	return write{bucket: bucket, key: key, value: b}
}

func del(bucket, key []byte) write { return write{bucket: bucket, key: key} }

func seqKey(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }

func keySeq(k []byte) (uint64, error) {
	if len(k) != 8 {
		return 0, fmt.Errorf("%w: a key of %d bytes, want 8", errJournal, len(k))
	}
	return binary.BigEndian.Uint64(k), nil
}
