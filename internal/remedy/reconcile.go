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
	// retryInterval is the least time between two looks at a pending start.
	retryInterval = 2 * time.Second
	// maxRetryDelay bounds the doubling pause after steps that failed.
	maxRetryDelay = time.Minute
	// shutdownGrace is how long a step in progress may go on after the program was told to stop;
	// shorter than the 10 s after which Docker kills it.
	shutdownGrace = 6 * time.Second
)

// reconciler brings containers to what is wanted of them: running, or down until a back-off is over.
// It observes and takes the next step, so it does not matter whether the action has just begun or an
// earlier process died in the middle of it.
type reconciler struct {
	opts       *Options
	store      *journal.Store
	metrics    *metrics
	containers *containerList
	wake       func() // of the loop

	began  time.Time      // of this process
	beside sync.WaitGroup // what waits beside the loop

	mu      sync.Mutex
	claimed map[string]bool  // targets with a step in progress
	retries map[string]retry // by target
}

// retry is when a target is looked at again.
type retry struct {
	at    time.Time
	delay time.Duration // the pause after the last failure
	look  bool          // also while it waits for the end of its back-off
}

// step is what to do about a pending start.
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

// attempt is a pending start that is worked on.
type attempt struct {
	p      journal.PendingStart
	rec    journal.Record
	open   bool // the record has no outcome yet
	online *onlineCheck
}

// note adds an observation to the record, unless it has its outcome.
func (a *attempt) note(format string, args ...any) {
	if a.open {
		a.rec = a.rec.Note(format, args...)
	}
}

func (a *attempt) fail(reason, hint string, err error) error {
	return &failure{op: a.p.Action + " " + a.p.Target, reason: reason, hint: hint, err: err}
}

// reconcile takes the next step of every pending start that is ready.
func (r *reconciler) reconcile(ctx context.Context) {
	for _, p := range r.ready() {
		if ctx.Err() != nil {
			r.release(p.Target)
			continue
		}
		r.advance(ctx, p, nil)
	}
}

// ready claims and returns the pending starts that are to be looked at, the oldest first.
func (r *reconciler) ready() []journal.PendingStart {
	state, now := r.store.State(), r.opts.now()
	var out []journal.PendingStart
	for target, p := range state.Starts {
		waits := p.Phase == journal.PhaseDown && now.Left(p.Instant, p.Length) > 0 && state.Concluded(p)
		r.mu.Lock()
		again := r.retries[target]
		if (!waits || again.look) && time.Until(again.at) <= 0 && !r.claimed[target] {
			r.claimed[target] = true
			r.retries[target] = retry{delay: again.delay}
			out = append(out, p)
		}
		r.mu.Unlock()
	}
	slices.SortFunc(out, func(a, b journal.PendingStart) int { return cmp.Compare(a.Record, b.Record) })
	return out
}

// lookAgain makes ready return a target that waits for the end of its back-off: it was reset, or its
// container is gone.
func (r *reconciler) lookAgain(target string) {
	r.mu.Lock()
	r.retries[target] = retry{look: true}
	r.mu.Unlock()
	r.wake()
}

func (r *reconciler) isClaimed(target string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.claimed[target]
}

// claim makes a target one that has a step in progress; false if it is already.
func (r *reconciler) claim(target string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.claimed[target] {
		return false
	}
	r.claimed[target] = true
	return true
}

// release ends a claim, so that alerts that waited for the target are decided.
func (r *reconciler) release(target string) {
	r.mu.Lock()
	delete(r.claimed, target)
	r.mu.Unlock()
	r.containers.forget()
	r.wake()
}

// schedule sets when the target is looked at again: soon, and after failures later and later.
func (r *reconciler) schedule(target string, failed bool) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	again := r.retries[target]
	delay := r.opts.scale(retryInterval)
	if failed {
		again.delay = min(max(2*again.delay, delay), r.opts.scale(maxRetryDelay))
		delay = again.delay
	}
	again.at = time.Now().Add(delay)
	r.retries[target] = again
	return delay
}

// advance takes the next step of a pending start, whose target is claimed. It takes containers down
// itself, so one at a time; waiting for one that starts goes on beside. online is GitHub's view from
// before the action, if that is known.
func (r *reconciler) advance(ctx context.Context, p journal.PendingStart, online *onlineCheck) {
	act, cancel := outlive(ctx)
	a := r.attempt(p, online)
	r.schedule(p.Target, false)
	c, err := r.find(act, p.ID)
	do := stepWait
	if err == nil {
		do = r.observed(a, c)
	}
	if do == stepTakeDown {
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
		r.settle(ctx, a, do, err)
	})
}

func (r *reconciler) attempt(p journal.PendingStart, online *onlineCheck) *attempt {
	rec, known := r.store.State().Records[p.Record]
	a := &attempt{p: p, rec: rec, open: known && rec.Outcome == journal.Running, online: online}
	if rec.Began.Before(r.began) {
		a.note("finished after the remediator was started again")
	}
	return a
}

// observed notes what an observation says of the phase, and returns the next step.
func (r *reconciler) observed(a *attempt, c runner.Container) step {
	now := r.opts.now()
	if c.Down() && a.p.Phase == journal.PhaseIntent {
		a.note("was %s already", c.State)
	}
	if c.Down() || startedSince(a.p, c, now) {
		r.setPhase(a, journal.PhaseDown)
	}
	return next(a.p, c, now)
}

// settle ends a step: what is done is concluded, what failed is tried again.
func (r *reconciler) settle(ctx context.Context, a *attempt, done step, err error) {
	if err != nil && ctx.Err() != nil {
		r.opts.Logger.Warn("Stopped in the middle of an action; it is finished at the next start", "action", a.p.Action, "target", a.p.Target)
		return
	}
	gone := errors.Is(err, errGone)
	_, failed := errors.AsType[*failure](err)
	switch {
	case gone:
		r.conclude(ctx, a, a.fail(failGone, "", errGone), true)
		return
	case done == stepFinish:
		r.conclude(ctx, a, err, true)
		return
	case a.open && (failed || err == nil && done == stepHold):
		r.conclude(ctx, a, err, false)
	}
	if err != nil {
		delay := r.schedule(a.p.Target, true)
		r.opts.Logger.Warn("Not started yet; trying again", "target", a.p.Target, "err", err, "in", delay)
	}
}

// find observes the container, by its id: one that was made anew under the same name is not it, and
// whether that runs is the decision of whoever made it.
func (r *reconciler) find(ctx context.Context, id string) (runner.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	list, err := r.opts.Docker.Containers(ctx)
	if err != nil {
		return runner.Container{}, err
	}
	for _, c := range list {
		if c.ID == id {
			return c, nil
		}
	}
	return runner.Container{}, errGone
}

// hold sees to it that a back-off has begun.
func (r *reconciler) hold(ctx context.Context, a *attempt) error {
	c, err := r.find(ctx, a.p.ID)
	if err != nil {
		return err
	}
	if !c.Down() {
		return a.fail(failVerify, "", fmt.Errorf("state %s", c.State))
	}
	now := r.opts.now()
	a.note("is %s, to be started at %s", c.State, now.Time.Add(now.Left(a.p.Instant, a.p.Length)).UTC().Format(timeFormat))
	return nil
}

// timeFormat is how times are written into sentences.
const timeFormat = "15:04:05 MST"

// setPhase notes how far a pending start has come. If it cannot be written the action goes on all the
// same: half done is worse, and an earlier phase on disk only means that more is looked at again
// after a crash.
func (r *reconciler) setPhase(a *attempt, phase journal.Phase) {
	if a.p.Phase == phase {
		return
	}
	a.p.Phase = phase
	err := r.store.Update(func(t *journal.Tx) error {
		if p, ok := t.State().Starts[a.p.Target]; ok { // with a length that a reset may have changed
			p.Phase = phase
			t.PutStart(p)
		}
		return nil
	})
	if err != nil {
		r.opts.Logger.Warn("Phase not written", "target", a.p.Target, "phase", phase, "err", err)
	}
	r.opts.Failpoint(string(phase))
}

// conclude writes the outcome of an attempt; finished says that nothing more is wanted of its
// container. After a back-off that is probation, also for the container that took the place of one
// that is gone.
func (r *reconciler) conclude(ctx context.Context, a *attempt, err error, finished bool) {
	now := r.opts.now()
	rec := a.rec
	rec.Ended, rec.Outcome = now.Time, journal.Completed
	if err != nil {
		rec.Outcome, rec.Reason, rec.Detail = journal.Failed, failReason(err), journal.Clean(err.Error(), journal.MaxDetail)
	}
	werr := r.store.UpdateUntil(ctx, func(t *journal.Tx) error {
		if a.open {
			t.PutRecord(rec)
		}
		if !finished {
			return nil
		}
		if old, known := t.State().Records[a.p.Record]; known && !a.open {
			if err == nil {
				t.PutRecord(old.Note("started again at %s", now.Time.UTC().Format(timeFormat)))
			} else {
				t.PutRecord(old.Note("%v", err))
			}
		}
		t.DeleteStart(a.p.Target)
		if b, ok := t.State().Breakers[a.p.Target]; ok && a.p.Action == ActionBackoff {
			t.PutBreaker(a.p.Target, onProbation(b, now))
		}
		return nil
	})
	if werr != nil {
		r.opts.Logger.Error("Outcome not written; it is looked at again", "action", rec.Action, "target", rec.Target, "err", werr)
		return
	}
	if finished {
		r.mu.Lock()
		delete(r.retries, a.p.Target)
		r.mu.Unlock()
	}
	if a.open {
		r.metrics.ended(rec)
		r.opts.log(rec, err)
		r.opts.Failpoint("outcome")
	}
	if finished {
		r.opts.Logger.Info("Nothing more is to be done", "action", a.p.Action, "target", a.p.Target, "container", a.p.Container)
		r.opts.Failpoint("finished")
	}
}

// log logs the outcome of a record.
func (o *Options) log(rec journal.Record, err error) {
	if err != nil {
		o.Logger.Error("Failed", "action", rec.Action, "target", rec.Target, "id", rec.ID, "err", err)
		return
	}
	o.Logger.Info("Done and verified", "action", rec.Action, "target", rec.Target, "id", rec.ID, "took", rec.Ended.Sub(rec.Began))
}

// outlive lets a step go on for a moment after ctx ended.
func outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	act, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		sleep(act, shutdownGrace)
		cancel()
	})
	return act, func() { stop(); cancel() }
}
