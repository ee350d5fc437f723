// Package journal is the memory of the remediator: alerts that wait for a decision, what was
// begun, done and refused, circuit breakers, and what is wanted of containers that were taken down.
//
// All of it changes through [Store.Update]: on disk first, in memory after that. What
// [Store.State] returns is the state of the last commit; it is never changed in place.
package journal

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Options configures a [Store].
type Options struct {
	// Logger receives what becomes of the file. Required.
	Logger *slog.Logger
	// Path is the bbolt file.
	Path string
	// Now is the present instant. Required.
	Now func() Instant
	// Open opens the disk. Default: the file at Path.
	Open func() (Disk, error)
}

const (
	// lockTimeout bounds the wait for the lock of the file.
	lockTimeout = 5 * time.Second
	// reopenInterval is the time between two attempts to open it.
	reopenInterval = 5 * time.Second
	// retryInterval is the time between two attempts to write.
	retryInterval = time.Second
)

// ErrStopping is the answer to changes after [Store.Close].
var ErrStopping = errors.New("stopping")

// Store holds the state, on disk and in memory.
type Store struct {
	opts  Options
	state atomic.Pointer[State] // of the last commit

	// head is the last transaction that was begun. Only the transaction that has the disk touches
	// it.
	head *Tx

	mu        sync.Mutex
	disk      Disk           // nil until it is open, and after Close
	broken    error          // why nothing can be written, nil if it can
	published int            // id of the transaction whose state was published
	writers   sync.WaitGroup // updates under way, so that the disk is closed after them
}

// New makes a store. It opens nothing: Open does, so that a file that cannot be opened is seen in
// Err rather than in a program that is started again and again.
func New(o Options) *Store {
	if o.Open == nil {
		o.Open = func() (Disk, error) { return OpenFile(o.Path, lockTimeout) }
	}
	s := &Store{opts: o, broken: errors.New("the journal is not open yet")}
	empty := newState()
	s.state.Store(&empty)
	return s
}

// Open opens the disk and reads the state, and tries again until that succeeds. False: ctx ended
// first.
func (s *Store) Open(ctx context.Context) bool {
	logged := ""
	for {
		err := s.open()
		if err == nil {
			return true
		}
		s.mu.Lock()
		s.broken = err
		s.mu.Unlock()
		if logged != err.Error() {
			s.opts.Logger.Error("Nothing is done without a journal; trying again", "err", err, "every", reopenInterval)
			logged = err.Error()
		}
		corrupt, statErr := os.Stat(s.opts.Path)
		for same := true; same; {
			if !sleep(ctx, reopenInterval) {
				return false
			}
			now, nowErr := os.Stat(s.opts.Path)
			same = errors.Is(err, errCorrupt) && statErr == nil && nowErr == nil && os.SameFile(corrupt, now)
		}
	}
}

func (s *Store) open() error {
	disk, err := s.opts.Open()
	if err != nil {
		return err
	}
	state, err := load(disk, s.opts.Now())
	if err != nil {
		return errors.Join(err, disk.Close())
	}
	s.head = &Tx{draft: state}
	s.state.Store(&state)
	s.mu.Lock()
	s.disk, s.broken = disk, nil
	s.mu.Unlock()
	s.opts.Logger.Info("Journal opened", "path", s.opts.Path, "queued", state.Queue,
		"unfinished", len(state.Starts), "breakers", len(state.Breakers), "paused", state.Pause.On)
	return nil
}

// Close ends the store after the updates that are under way.
func (s *Store) Close() error {
	s.mu.Lock()
	disk := s.disk
	s.disk, s.broken = nil, ErrStopping
	s.mu.Unlock()
	s.writers.Wait()
	if disk == nil {
		return nil
	}
	return disk.Close()
}

// State is the state of the last commit. It is read-only.
func (s *Store) State() *State { return s.state.Load() }

// Err returns why nothing can be written right now, nil if it can.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.broken
}

// Update changes the state: on disk first, in memory after that, all of fn or nothing. It returns
// when both is done. Calls that come at the same time share one transaction, so fn may be run more
// than once, and must do nothing but change its Tx.
func (s *Store) Update(fn func(*Tx) error) error {
	s.mu.Lock()
	disk, err := s.disk, s.broken
	if disk != nil {
		s.writers.Add(1)
	}
	s.mu.Unlock()
	if disk == nil {
		return err
	}
	defer s.writers.Done()
	var refused error // by fn, which says nothing about the disk
	err = disk.Batch(func(d DiskTx) error {
		t := s.begin(d)
		if refused = fn(t); refused != nil {
			return refused
		}
		return t.err
	})
	if refused == nil {
		s.wrote(err)
	}
	return err
}

// begin returns the transaction of d, which several updates may share.
func (s *Store) begin(d DiskTx) *Tx {
	if s.head.disk == d {
		return s.head
	}
	base := s.head.base // the last one was rolled back
	if d.ID() > s.head.id {
		base = s.head.draft // it was committed
	}
	t := &Tx{disk: d, id: d.ID(), base: base, draft: base, copied: map[string]bool{}}
	s.head = t
	d.OnCommit(func() { s.publish(t) })
	return t
}

// publish makes the state of a transaction that is on disk the one that is read. The hooks of two
// transactions may come in either order.
func (s *Store) publish(t *Tx) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.id > s.published {
		s.published = t.id
		s.state.Store(&t.draft)
	}
}

// wrote keeps Err true to the result of a write.
func (s *Store) wrote(err error) {
	s.mu.Lock()
	changed := s.disk != nil && (s.broken == nil) != (err == nil)
	if s.disk != nil {
		s.broken = err
	}
	s.mu.Unlock()
	switch {
	case changed && err != nil:
		s.opts.Logger.Error("Nothing is done without a journal; trying again", "err", err)
	case changed:
		s.opts.Logger.Info("Journal can be written again")
	}
}

// UpdateUntil updates until it succeeds. It gives up when ctx ends, after one last try.
func (s *Store) UpdateUntil(ctx context.Context, fn func(*Tx) error) error {
	for {
		err := s.Update(fn)
		if err == nil || !sleep(ctx, retryInterval) {
			return err
		}
	}
}

// Probe writes something that is of no importance, to find out whether that is possible.
func (s *Store) Probe() {
	_ = s.Update(func(t *Tx) error { // the result is in Err
		t.write(bucketMeta, []byte("probe"), []byte("1"))
		return nil
	})
}

// Queued is one accepted alert.
type Queued struct {
	Seq   uint64
	Alert Alert
}

// Inbox returns the alerts from a sequence number on that have waited longest.
func (s *Store) Inbox(from uint64, limit int) ([]Queued, error) {
	s.mu.Lock()
	disk, err := s.disk, s.broken
	s.mu.Unlock()
	if disk == nil {
		return nil, err
	}
	var out []Queued
	err = disk.Each(bucketInbox, formatKey(from), func(k, v []byte) (bool, error) {
		seq, err := parseKey(k)
		if err != nil {
			return false, err
		}
		q := Queued{Seq: seq}
		if err := json.Unmarshal(v, &q.Alert); err != nil {
			return false, err
		}
		out = append(out, q)
		return len(out) < limit, nil
	})
	return out, err
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
