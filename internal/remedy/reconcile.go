package remedy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

const (
	retryInterval = 2 * time.Second // the least between two looks at a pending start
	maxRetryDelay = time.Minute     // bounds the doubling pause after steps that failed
	// shutdownGrace is how long a step in progress may go on after SIGTERM;
	// shorter than the 10 s after which Docker kills it.
	shutdownGrace = 6 * time.Second
	// timeFormat is how times are written into sentences.
	timeFormat = "15:04:05 MST"
)

// reconciler brings containers to what is wanted of them: running, or down until a back-off is
// over. It observes and takes the next step, so it does not matter whether the action has just
// begun or an earlier process died in the middle of it.
type reconciler struct {
	opts       *Options
	store      *journal.Store
	metrics    *metrics
	idle       *idleCheck
	containers *containerList
	wake       func()         // of the loop
	began      time.Time      // of this process
	beside     sync.WaitGroup // what waits beside the loop

	mu    sync.Mutex
	tasks map[string]task // by target
}

type task struct {
	claimed bool          // a step is in progress
	at      time.Time     // when it is looked at again
	delay   time.Duration // the pause after the last failure
	look    bool          // also while it waits for the end of its back-off
}

type step int

const (
	stepWait     step = iota // nothing now
	stepTakeDown             // it runs, and is to be taken down
	stepHold                 // a back-off has begun
	stepStart                // it is down, and is to run
	stepFinish               // it runs again
)

// next returns the next step for a pending start from what is observed of its container.
func next(p journal.PendingStart, c runner.Container, now journal.Instant) step {
	due := now.Left(p.Instant, p.Length) == 0
	// A service in a later phase than the intent was restarted by Docker.
	again := p.Phase == journal.PhaseDown || c.Role == runner.RoleService && p.Phase != journal.PhaseIntent
	switch {
	case c.Down() && due:
		return stepStart
	case c.Down():
		return stepHold
	case !c.Running(): // on its way, by its restart policy
		return stepWait
	case !again && !startedSince(p, c, now):
		return stepTakeDown
	case due:
		return stepFinish
	default: // a person started it during the back-off
		return stepHold
	}
}

// startedSince reports whether the present run of the container began later than the action: an
// earlier process came so far.
func startedSince(p journal.PendingStart, c runner.Container, now journal.Instant) bool {
	return c.Running() && c.Up > 0 && c.Up < now.Since(p.Instant)
}

type attempt struct {
	p      journal.PendingStart
	rec    journal.Record
	open   bool // the record has no outcome yet
	online onlineCheck
}

// note adds an observation to the record, unless it has its outcome.
func (a *attempt) note(format string, args ...any) {
	if a.open {
		a.rec = a.rec.Note(format, args...)
	}
}

func (r *reconciler) change(target string, fn func(*task)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.tasks[target]
	if fn(&t); t == (task{}) {
		delete(r.tasks, target)
	} else {
		r.tasks[target] = t
	}
}

func (r *reconciler) isClaimed(target string) (claimed bool) {
	r.change(target, func(t *task) { claimed = t.claimed })
	return claimed
}

// release ends a claim, so that alerts that waited for the target are decided.
func (r *reconciler) release(target string) {
	r.change(target, func(t *task) { t.claimed = false })
	r.containers.forget()
	r.wake()
}

// lookAgain makes reconcile look at a target that waits for the end of its back-off: it was reset,
// or its container is gone.
func (r *reconciler) lookAgain(target string) {
	r.change(target, func(t *task) { t.look, t.at = true, time.Time{} })
	r.wake()
}

// schedule sets when the target is looked at again: soon, and after failures later and later.
func (r *reconciler) schedule(target string, failed bool) {
	r.change(target, func(t *task) {
		delay := r.opts.scale(retryInterval)
		if failed {
			t.delay = min(max(2*t.delay, delay), r.opts.scale(maxRetryDelay))
			delay = t.delay
		}
		t.at = time.Now().Add(delay)
	})
}

// reconcile takes the next step of every pending start that is ready, the oldest first.
func (r *reconciler) reconcile(ctx context.Context) {
	state, now := r.store.State(), r.opts.now()
	var ready []journal.PendingStart
	for target, p := range state.Starts {
		waits := p.Phase == journal.PhaseDown && now.Left(p.Instant, p.Length) > 0 && state.Concluded(p)
		r.change(target, func(t *task) {
			if !t.claimed && (!waits || t.look) && time.Until(t.at) <= 0 {
				t.claimed, t.look = true, false
				ready = append(ready, p)
			}
		})
	}
	slices.SortFunc(ready, func(a, b journal.PendingStart) int { return cmp.Compare(a.Record, b.Record) })
	for _, p := range ready {
		if ctx.Err() == nil {
			r.advance(ctx, p)
		} else {
			r.release(p.Target)
		}
	}
}

// advance takes the next step of a pending start, whose target is claimed. It takes containers down
// itself, so one at a time; waiting for one that starts goes on beside.
func (r *reconciler) advance(ctx context.Context, p journal.PendingStart) {
	act, cancel := outlive(ctx)
	rec, known := r.store.State().Records[p.Record]
	a := &attempt{p: p, rec: rec, open: known && rec.Outcome == journal.Running}
	if rec.Began.Before(r.began) {
		a.note("finished after the remediator was started again")
	}
	r.schedule(p.Target, false)
	do := stepWait
	c, err := r.find(act, p.ID)
	if err == nil {
		now := r.opts.now()
		if c.Down() || startedSince(p, c, now) {
			r.setPhase(a, journal.PhaseDown)
		}
		do = next(a.p, c, now)
	}
	if do == stepTakeDown {
		r.onlineBefore(act, a, c)
		do, err = r.takeDown(act, a, c)
	}
	r.beside.Go(func() {
		defer r.release(p.Target)
		defer cancel()
		if err == nil && do == stepStart {
			if err = r.start(act, a, true); err == nil {
				do = stepFinish
			}
		}
		if err == nil && do == stepHold {
			err = r.hold(act, a)
		}
		if err == nil && do == stepFinish {
			err = r.verify(act, a)
		}
		r.finishStep(ctx, a, do, err)
	})
}

// finishStep ends a step: what is done is concluded, what failed is tried again.
func (r *reconciler) finishStep(ctx context.Context, a *attempt, done step, err error) {
	_, failed := errors.AsType[*failure](err)
	switch {
	case err != nil && ctx.Err() != nil:
		r.opts.Logger.Warn("Stopped in the middle of an action; it is finished at the next start", "action", a.p.Action, "target", a.p.Target)
		return
	case errors.Is(err, errGone):
		r.conclude(ctx, a, &failure{failGone, errGone}, true)
		return
	case done == stepFinish:
		r.conclude(ctx, a, err, true)
		return
	case a.open && (failed || err == nil && done == stepHold):
		r.conclude(ctx, a, err, false)
	}
	if err != nil {
		r.schedule(a.p.Target, true)
		r.opts.Logger.Warn("Not started yet; trying again", "target", a.p.Target, "err", err)
	}
}

// find observes a container, by its id: one that was created again under the same name is not it.
func (r *reconciler) find(ctx context.Context, id string) (runner.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := r.opts.Docker.Containers(ctx)
	if err != nil {
		return runner.Container{}, err
	}
	if i := slices.IndexFunc(list, func(c runner.Container) bool { return c.ID == id }); i >= 0 {
		return list[i], nil
	}
	return runner.Container{}, errGone
}

func (r *reconciler) hold(ctx context.Context, a *attempt) error {
	c, err := r.find(ctx, a.p.ID)
	switch {
	case err != nil:
		return err
	case !c.Down():
		return &failure{failVerify, fmt.Errorf("state %s", c.State)}
	}
	now := r.opts.now()
	a.note("is %s, to be started at %s", c.State, now.Time.Add(now.Left(a.p.Instant, a.p.Length)).UTC().Format(timeFormat))
	return nil
}

// setPhase notes how far a pending start has come. If it cannot be written the action goes on all
// the same: half done is worse, and an earlier phase on disk only means that more is looked at
// again after a crash.
func (r *reconciler) setPhase(a *attempt, phase journal.Phase) {
	if a.p.Phase == phase {
		return
	}
	a.p.Phase = phase
	_ = r.store.Update(func(t *journal.Tx) error {
		if p, ok := t.State().Starts[a.p.Target]; ok { // with a length that a reset may have changed
			p.Phase = phase
			t.PutStart(p)
		}
		return nil
	})
	r.opts.Failpoint(string(phase))
}

// conclude writes the outcome of an attempt; finished says that nothing more is wanted of its
// container. After a back-off that is probation, also for the container that took the place of one
// that is gone.
func (r *reconciler) conclude(ctx context.Context, a *attempt, err error, finished bool) {
	now, rec := r.opts.now(), a.rec
	rec.Ended, rec.Outcome = now.Time, journal.Completed
	if err != nil {
		rec.Outcome, rec.Reason, rec.Detail = journal.Failed, failDocker, runner.Printable(err.Error(), journal.MaxDetail)
	}
	if f, ok := errors.AsType[*failure](err); ok {
		rec.Reason = f.reason
	}
	werr := r.store.UpdateUntil(ctx, func(t *journal.Tx) error {
		if a.open {
			t.PutRecord(rec)
		} else if old, known := t.State().Records[a.p.Record]; known && err == nil {
			t.PutRecord(old.Note("started again at %s", now.Time.UTC().Format(timeFormat)))
		} else if known {
			t.PutRecord(old.Note("%v", err))
		}
		if finished {
			t.DeleteStart(a.p.Target)
			if b, ok := t.State().Breakers[a.p.Target]; ok && a.p.Action == ActionBackoff {
				t.PutBreaker(a.p.Target, onProbation(b, now))
			}
		}
		return nil
	})
	log := r.opts.Logger.With("action", a.rec.Action, "target", a.rec.Target, "id", a.rec.ID)
	switch {
	case werr != nil:
		log.Error("Outcome not written; it is looked at again", "err", werr)
		return
	case !a.open:
		log.Info("Running again")
	case err != nil:
		log.Error("Failed", "err", err)
	default:
		log.Info("Done and verified", "took", rec.Ended.Sub(rec.Began))
	}
	if a.open {
		r.metrics.ended(rec)
		r.opts.Failpoint("outcome")
	}
	if finished {
		r.change(a.p.Target, func(t *task) { *t = task{claimed: true} })
		r.opts.Failpoint("finished")
	}
}

// outlive lets a step go on for a moment after ctx ended.
func outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	act, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(shutdownGrace, cancel) })
	return act, func() { stop(); cancel() }
}
