package remedy

import (
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
)

// memory is a disk that outlives the processes, can be full, and can be read with a clock that was
// set.
type memory struct {
	full atomic.Bool

	mu      sync.Mutex
	id      int
	buckets map[string]map[string][]byte
}

func newMemory() *memory {
	m := &memory{buckets: map[string]map[string][]byte{}}
	for _, b := range journal.Buckets {
		m.buckets[b] = map[string][]byte{}
	}
	return m
}

func (m *memory) open() (journal.Disk, error) {
	return &lifeDisk{m, func() bool { return false }}, nil
}

// store opens the disk without a remediator.
func (m *memory) store(t *testing.T) *journal.Store {
	t.Helper()
	s := journal.New(journal.Options{
		Logger: slog.New(slog.DiscardHandler), Open: m.open,
		Now: func() journal.Instant { return journal.Instant{Time: time.Now(), Boot: uptime()} },
	})
	if !s.Open(t.Context()) {
		t.Fatal("not opened")
	}
	return s
}

// lifeDisk is the disk as one process sees it.
type lifeDisk struct {
	*memory

	dead func() bool
}

// memoryTx is a transaction: its changes are kept apart until all went well.
type memoryTx struct {
	id      int
	changes []func(map[string]map[string][]byte)
	hooks   []func()
}

func (t *memoryTx) ID() int            { return t.id }
func (t *memoryTx) OnCommit(fn func()) { t.hooks = append(t.hooks, fn) }

func (t *memoryTx) Put(bucket string, key, value []byte) error {
	t.changes = append(t.changes, func(b map[string]map[string][]byte) { b[bucket][string(key)] = value })
	return nil
}

func (t *memoryTx) Delete(bucket string, key []byte) error {
	t.changes = append(t.changes, func(b map[string]map[string][]byte) { delete(b[bucket], string(key)) })
	return nil
}

func (d *lifeDisk) Batch(fn func(journal.DiskTx) error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := &memoryTx{id: d.id + 1}
	if err := fn(t); err != nil {
		return err
	}
	switch {
	case d.dead():
		return errDead
	case d.full.Load():
		return errors.New("no space left on device")
	}
	d.id++
	for _, change := range t.changes {
		change(d.buckets)
	}
	for _, hook := range t.hooks {
		hook()
	}
	return nil
}

func (d *lifeDisk) Each(bucket string, from []byte, fn func(k, v []byte) (bool, error)) error {
	d.mu.Lock()
	b := maps.Clone(d.buckets[bucket])
	d.mu.Unlock()
	for _, k := range slices.Sorted(maps.Keys(b)) {
		if k < string(from) {
			continue
		}
		if more, err := fn([]byte(k), b[k]); err != nil || !more {
			return err
		}
	}
	return nil
}

func (*lifeDisk) Close() error { return nil }

// start reads a pending start as it is on disk.
func (m *memory) start(target string) (p journal.PendingStart, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.buckets["debts"][target]
	return p, ok && json.Unmarshal(v, &p) == nil
}

var written = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)`)

// shift moves every time that was written down, which is what a clock that was set the other way
// makes of it.
func (m *memory) shift(by time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.buckets {
		for k, v := range b {
			b[k] = written.ReplaceAllFunc(v, func(s []byte) []byte {
				t, err := time.Parse(time.RFC3339Nano, string(s))
				if err != nil || t.IsZero() {
					return s
				}
				return []byte(t.Add(by).Format(time.RFC3339Nano))
			})
		}
	}
}
