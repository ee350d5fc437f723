package remedy

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/semaphore"
)

// Remediator acts on alerts. Make one with [New], then [Remediator.Run] it.
type Remediator struct {
	opts       Options
	log        *slog.Logger
	metrics    *metrics
	actions    []Action
	containers *containerList
	deliveries chan struct{}       // one token for each request to the webhook that is being answered
	requests   chan struct{}       // one for each other request
	bodies     *semaphore.Weighted // bytes of the payloads that are being decoded

	wake  chan struct{} // something is in the inbox
	nudge chan struct{} // something for the keeper

	mu       sync.Mutex
	state    state
	journal  store              // nil until it is open, and after Run
	broken   error              // why nothing can be written, nil if it can
	stopping bool               // no more alerts are accepted
	inflight map[string]bool    // targets that somebody works on right now
	firing   map[string]Firing  // by fingerprint; for people
	disputes map[string]dispute // by container id
	dockerUp bool
	began    time.Time      // since when a heartbeat is waited for
	silent   bool           // it has not come for too long
	writers  sync.WaitGroup // writes on their way, so that the journal is closed after them
}

// New makes a remediator. It opens nothing yet: Run does, and keeps trying, so
// that a journal that cannot be opened is seen in Ready and on the pages rather
// than in a program that starts again and again.
func New(opts Options) (*Remediator, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &Remediator{
		opts:       opts,
		log:        opts.Logger,
		metrics:    newMetrics(opts.Registry),
		containers: &containerList{docker: opts.Docker},
		deliveries: make(chan struct{}, maxRequests),
		requests:   make(chan struct{}, maxRequests),
		bodies:     semaphore.NewWeighted(maxBodies),
		wake:       make(chan struct{}, 1),
		nudge:      make(chan struct{}, 1),
		state:      newState(),
		broken:     errors.New("the journal is not open yet"),
		inflight:   map[string]bool{},
		firing:     map[string]Firing{},
		dockerUp:   true,
		began:      time.Now(),
	}
	r.disputes = map[string]dispute{}
	r.actions = []Action{r.restart(), r.backoff(), r.prune()}
	if opts.Registry != nil {
		if err := opts.Registry.Register(stateCollector{r}); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return r, nil
}

// reopenInterval is the time between two attempts to open or write a broken journal.
const reopenInterval = 5 * time.Second

// Run opens the journal, finishes what an earlier process began, and works until
// ctx ends. It returns nil then. An action in progress is given a few seconds to
// end; what it leaves unfinished is on disk.
func (r *Remediator) Run(ctx context.Context) error {
	if !r.open(ctx) {
		return nil
	}
	var wg sync.WaitGroup
	wg.Go(func() { r.work(ctx) })
	wg.Go(func() { r.keep(ctx) })
	wg.Go(func() { r.watchDisputes(ctx) })
	wg.Go(func() { r.watchImages(ctx) })
	wg.Go(func() { r.fallBack(ctx) })
	wg.Go(func() { r.watchSetBacks(ctx) })
	<-ctx.Done()
	r.mu.Lock()
	r.stopping = true
	r.mu.Unlock()
	wg.Wait()
	r.mu.Lock()
	j := r.journal
	r.journal, r.broken = nil, errors.New("stopped")
	r.mu.Unlock()
	r.writers.Wait()
	if err := j.close(); err != nil {
		return fmt.Errorf("close journal: %w", err)
	}
	return nil
}

// open tries to open the journal until it succeeds. False: ctx ended first.
func (r *Remediator) open(ctx context.Context) bool {
	said := ""
	for {
		j, err := r.opts.open(r.opts.JournalPath, r.opts.JournalTimeout)
		var s state
		if err == nil {
			if s, err = restore(j, r.now()); err != nil {
				_ = j.close()
			}
		}
		if err == nil {
			r.mu.Lock()
			s.heartbeat = r.state.heartbeat
			r.state, r.journal, r.broken = s, j, nil
			for runner := range s.fires {
				r.metrics.target(ActionRestart, runner)
			}
			// Under the lock: s shares its maps with r.state, which others may change from now on.
			r.log.Info("Journal opened", "path", r.opts.JournalPath, "queued", s.queue,
				"unfinished", len(s.debts), "breakers", len(s.breakers), "paused", s.paused)
			r.mu.Unlock()
			signal(r.wake)
			return true
		}
		r.mu.Lock()
		r.broken = err
		r.mu.Unlock()
		if said != err.Error() {
			r.log.Error("Nothing is done without a journal; trying again", "err", err, "every", reopenInterval)
			said = err.Error()
		}
		corrupt, statErr := os.Stat(r.opts.JournalPath)
		for same := true; same; {
			if !sleep(ctx, reopenInterval) {
				return false
			}
			now, nowErr := os.Stat(r.opts.JournalPath)
			same = errors.Is(err, errCorrupt) && statErr == nil && nowErr == nil && os.SameFile(corrupt, now)
		}
	}
}

// Ready returns why no alert can be accepted right now, or none comes, nil if all is well.
func (r *Remediator) Ready() error {
	if err := r.writable(); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.silentAt(time.Now())
}

// writable returns why no alert can be accepted right now, nil if one can.
func (r *Remediator) writable() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping {
		return errStopping
	}
	return r.broken
}

// errStopping is the answer while the program ends.
var errStopping = errors.New("stopping")

// write makes changes durable and keeps Ready true to the result.
func (r *Remediator) write(ctx context.Context, writes ...write) error {
	r.mu.Lock()
	j, err := r.journal, r.broken
	if j != nil {
		r.writers.Add(1)
	}
	r.mu.Unlock()
	if j == nil {
		return err
	}
	defer r.writers.Done()
	err = j.write(ctx, writes...)
	if err != nil && ctx.Err() != nil {
		return err // says nothing about the journal
	}
	r.mu.Lock()
	changed := (r.broken == nil) != (err == nil)
	if r.journal != nil {
		r.broken = err
	}
	r.mu.Unlock()
	if changed && err != nil {
		r.log.Error("Nothing is done without a journal; trying again", "err", err)
	} else if changed {
		r.log.Info("Journal can be written again")
	}
	return err
}

// writeOn writes until it succeeds. It gives up when ctx ends, after one last try.
func (r *Remediator) writeOn(ctx context.Context, writes ...write) error {
	for {
		err := r.write(context.WithoutCancel(ctx), writes...)
		if err == nil || !sleep(ctx, time.Second) {
			return err
		}
	}
}

// learn remembers the runners of a list, so that their series exist before
// anything happens to them, and notes which debts have lost their container.
func (r *Remediator) learn(ctx context.Context, list []Container) {
	var writes []write
	r.mu.Lock()
	for _, d := range r.state.debts {
		d.missed = !slices.ContainsFunc(list, func(c Container) bool { return c.ID == d.ID })
	}
	for _, c := range list {
		if c.Role != RoleRunner && c.Role != RoleService {
			continue
		}
		for _, name := range c.Heal {
			if name == ActionRestart || (name == ActionBackoff && c.Role == RoleRunner) {
				r.metrics.target(name, c.Target())
			}
		}
		if c.Role != RoleRunner || c.Runner == "" || len(r.state.fires) >= maxRunners {
			continue
		}
		if _, ok := r.state.fires[c.Runner]; !ok {
			r.state.fires[c.Runner] = 0
			w := putFires(c.Runner, 0)
			w.first = true // a fire may be counted before this is written
			writes = append(writes, w)
		}
	}
	writes = append(writes, r.state.evict(time.Now())...)
	r.mu.Unlock()
	if err := r.write(ctx, writes...); err != nil && ctx.Err() == nil {
		r.log.Warn("Known runners could not be written down", "err", err)
	}
}

func putFires(runner string, n uint64) write {
	return write{bucket: bucketFires, key: []byte(runner), value: binary.BigEndian.AppendUint64(nil, n)}
}

func putLast(action, target string, at time.Time) write {
	return write{bucket: bucketLast, key: []byte(lastKey(action, target)), value: []byte(at.UTC().Format(time.RFC3339Nano))}
}

// signal wakes whoever waits on a channel of capacity one.
func signal(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// sleep waits for d; false if ctx ended first.
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
