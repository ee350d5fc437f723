package journal

import (
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

// Disk keeps buckets of keys beyond the life of the process: a bbolt file, or in tests a memory
// that can fail.
type Disk interface {
	// Batch runs fn in a transaction that it may share with other callers, and returns when that is
	// on disk. It may run fn more than once.
	Batch(fn func(DiskTx) error) error
	// Each calls fn with every entry of a bucket from a key on, in order, until it returns false.
	Each(bucket string, from []byte, fn func(k, v []byte) (bool, error)) error
	Close() error
}

// DiskTx is one transaction. Two of them are equal if they are the same.
type DiskTx interface {
	// ID grows with each commit, and only then.
	ID() int
	Put(bucket string, key, value []byte) error
	Delete(bucket string, key []byte) error
	// OnCommit runs fn once the transaction is on disk.
	OnCommit(fn func())
}

var errJournal = errors.New("journal")

// errCorrupt is a file that is no sound journal. It needs a person: bbolt may keep its lock after
// such a failure, so the same file is not opened again.
var errCorrupt = errors.New("is corrupt; move it away to start with an empty one")

const batchDelay = time.Millisecond // for others to share a transaction and its fsync

type bolt struct{ db *bbolt.DB }

type boltTx struct{ *bbolt.Tx }

func (t boltTx) Put(bucket string, key, value []byte) error {
	return t.Bucket([]byte(bucket)).Put(key, value)
}

func (t boltTx) Delete(bucket string, key []byte) error { return t.Bucket([]byte(bucket)).Delete(key) }

func (b bolt) Batch(fn func(DiskTx) error) error {
	return b.db.Batch(func(tx *bbolt.Tx) error { return fn(boltTx{tx}) })
}

func (b bolt) Each(bucket string, from []byte, fn func(k, v []byte) (bool, error)) (err error) {
	defer guardFaults(&err)()
	return b.db.View(func(tx *bbolt.Tx) error {
		c := tx.Bucket([]byte(bucket)).Cursor()
		for k, v := c.Seek(from); k != nil; k, v = c.Next() {
			if more, err := fn(k, v); err != nil || !more {
				return err
			}
		}
		return nil
	})
}

func (b bolt) Close() error { return b.db.Close() }

// guardFaults turns the fault of reading a damaged file into an error, until the function that it
// returns has run.
func guardFaults(err *error) func() {
	old := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			*err = fmt.Errorf("%w: %v", errCorrupt, r)
		}
	}
}

// OpenFile opens or creates a bbolt file and reads every entry of it, so that a damaged one is
// found now and not in the middle of an action. The free list is kept on disk, and bbolt's own
// check is not used, because both work in goroutines where the fault of reading a damaged file ends
// the program.
func OpenFile(path string, timeout time.Duration) (Disk, error) {
	db, err := openBolt(path, timeout)
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("%w %s is locked by another process; is a second remediator running?", errJournal, path)
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return nil, fmt.Errorf("%w %s %w: %w", errJournal, path, errCorrupt, err)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return nil, fmt.Errorf("%w %s cannot be written: %w; make %s writable for user %d",
			errJournal, path, err, filepath.Dir(path), os.Getuid())
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("%w %s: %w; create %s", errJournal, path, err, filepath.Dir(path))
	case errors.Is(err, errCorrupt):
		return nil, fmt.Errorf("%w %s %w", errJournal, path, err)
	case err != nil:
		return nil, fmt.Errorf("%w %s: %w", errJournal, path, err)
	}
	db.MaxBatchDelay = batchDelay
	return bolt{db}, nil
}

func openBolt(path string, timeout time.Duration) (db *bbolt.DB, err error) {
	defer func() {
		if err != nil && db != nil {
			_ = db.Close()
		}
	}()
	defer guardFaults(&err)()
	db, err = bbolt.Open(path, 0o600, &bbolt.Options{Timeout: timeout, FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return nil, err
	}
	if info, err := os.Stat(path); err == nil && info.Size()%int64(os.Getpagesize()) != 0 {
		return db, fmt.Errorf("%w: its size of %d bytes is no multiple of a page", errCorrupt, info.Size())
	}
	err = db.View(func(tx *bbolt.Tx) error {
		return tx.ForEach(func(_ []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(_, _ []byte) error { return nil })
		})
	})
	if err != nil {
		return db, fmt.Errorf("%w: %w", errCorrupt, err)
	}
	err = db.Update(func(tx *bbolt.Tx) error {
		for _, name := range Buckets {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		meta := tx.Bucket([]byte(bucketMeta))
		if v := meta.Get([]byte("version")); v != nil && string(v) != "1" {
			return fmt.Errorf("has version %q, this program knows 1", v)
		}
		return meta.Put([]byte("version"), []byte("1"))
	})
	if err == nil {
		_ = reserve(db) // on a disk that is full already the first write says so
	}
	return db, err
}

// reserved is how many bytes of the file are made free for later writes; half of it left is enough.
const reserved = 1 << 20

// reserve lets the file take room now that later writes fill: on a disk without any space left an
// intent must still find a place, or nothing would ever be pruned.
func reserve(db *bbolt.DB) error {
	if db.Stats().FreePageN*db.Info().PageSize >= reserved/2 {
		return nil
	}
	key, bucket := []byte("reserve"), []byte(bucketMeta)
	return errors.Join(
		db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Put(key, make([]byte, reserved)) }),
		db.Update(func(tx *bbolt.Tx) error { return tx.Bucket(bucket).Delete(key) }),
	)
}
