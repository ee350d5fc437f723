package remedy

import (
	"context"
	"time"
)

// store is where the state outlives the process: the journal, or in tests a memory that can fail and be looked into.
type store interface {
	// write makes the changes durable, all or none, before it returns.
	write(ctx context.Context, writes ...write) error
	// each calls fn with every entry of a bucket from a key on, in order, until it returns false.
	each(bucket, from []byte, fn func(k, v []byte) (bool, error)) error
	// close ends it. No write may come after that.
	close() error
}

// openFile opens the journal's file as a store.
func openFile(path string, timeout time.Duration) (store, error) {
	j, err := openJournal(path, timeout)
	if err != nil {
		return nil, err // not a nil *journal, which would be a store
	}
	return j, nil
}
