// Package remedy turns alerts into safe actions.
//
// An alert is on disk before it is accepted. One loop then decides about it in three stages:
// resolve finds the one target and action, escalate replaces an action that did not help, and the
// guards each pass or refuse. What is wanted of the target (running now, or again after a back-off)
// is on disk before the first call to Docker; the reconciler takes the next step towards it from
// what is observed, which is the same code for an action in progress and for one that an earlier
// process left unfinished.
//
// The package judges only whether an action is safe, never whether it is wanted: that is said by
// the labels of the rule. Labels of an alert are claims. What may be done to a container is said by
// the container's own label ghostrunner.heal.
//
// Promises:
//
//   - No job is killed: a runner is drained, and stopped only while no worker process is in it.
//   - Nothing without the label is touched, and no volume or network ever.
//   - A container that was stopped is started again, also after kill -9.
package remedy

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
)

// Remediator acts on alerts. Make one with [New], then [Remediator.Run] it.
type Remediator struct {
	opts       *Options
	store      *journal.Store
	metrics    *metrics
	containers *containerList
	idle       *idleCheck
	pipeline   *pipeline
	reconciler *reconciler
	wake       chan struct{} // something may be to be done

	dockerDown bool // as it was logged
	setBack    atomic.Pointer[SetBack]
}

// New makes a remediator. It opens nothing yet: Run does.
func New(o Options) *Remediator {
	opts := o.withDefaults()
	r := &Remediator{
		opts:       opts,
		metrics:    newMetrics(opts.Registry),
		containers: &containerList{docker: opts.Docker},
		pipeline:   &pipeline{timeout: opts.HeartbeatTimeout, began: time.Now(), firing: map[string]Firing{}},
		wake:       make(chan struct{}, 1),
	}
	r.store = journal.New(journal.Options{Logger: opts.Logger, Path: opts.JournalPath, Now: opts.now, Open: opts.OpenDisk})
	r.idle = &idleCheck{opts: opts, containers: r.containers, conflicts: map[string]conflict{}}
	r.reconciler = &reconciler{
		opts: opts, store: r.store, metrics: r.metrics, idle: r.idle, containers: r.containers, wake: r.wakeUp, began: time.Now(),
		tasks: map[string]task{},
	}
	if opts.Registry != nil {
		registerState(r, opts.Registry)
	}
	return r
}

// Run opens the journal, finishes what an earlier process began, and works until ctx ends. It
// returns nil then. A step in progress is given a few seconds to end; what it leaves unfinished is
// on disk.
func (r *Remediator) Run(ctx context.Context) error {
	if !r.store.Open(ctx) {
		return nil
	}
	var wg sync.WaitGroup
	wg.Go(func() { r.loop(ctx) })
	wg.Go(func() { r.watchImages(ctx) })
	wg.Go(func() { r.restartUnhealthy(ctx) })
	wg.Wait()
	if err := r.store.Close(); err != nil {
		return fmt.Errorf("close journal: %w", err)
	}
	return nil
}

// Ready returns why no alert can be accepted right now, or none comes; nil if all is well.
func (r *Remediator) Ready() error {
	if err := r.store.Err(); err != nil {
		return err
	}
	return r.pipeline.silent()
}

func (r *Remediator) wakeUp() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}
