package remedy

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// keepInterval is the time between two looks at the debts, if there are any.
	keepInterval = 2 * time.Second
	// learnInterval is the time between two looks for new runners, if there are none.
	learnInterval = 30 * time.Second
	// maxStartDelay bounds the doubling pause between two attempts to start.
	maxStartDelay = time.Minute
)

// keep pays the debts: it starts what was stopped, when its time is up, and
// finishes what an earlier process left. It looks at the world each time and does
// the next step, so that it does not matter where that process died. It also ends
// probations and learns which runners there are.
func (r *Remediator) keep(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	var learned time.Time
	for ctx.Err() == nil {
		if learned.IsZero() || time.Since(learned) >= learnInterval {
			learned = time.Now()
			list, err := r.containers.recent(ctx)
			if ctx.Err() != nil {
				return
			}
			r.sayDocker(err)
			if err == nil {
				r.learn(ctx, list)
			}
		}
		if r.writable() != nil { // nothing else may be writing: try again from here
			_ = r.write(ctx, write{bucket: bucketMeta, key: []byte("probe"), value: []byte("1")})
		}
		r.anchor()
		r.endProbations(ctx)
		due := r.claim()
		for _, d := range due {
			wg.Go(func() {
				defer r.release(d.Target)
				r.pay(ctx, d)
			})
		}
		select {
		case <-time.After(r.nextLook()):
		case <-r.nudge:
			// What was just released is looked at after a pause, not in a circle.
			sleep(ctx, r.opts.PollInterval)
		case <-ctx.Done():
		}
	}
}

// sayDocker logs when Docker goes and comes.
func (r *Remediator) sayDocker(err error) {
	r.mu.Lock()
	changed := r.dockerUp != (err == nil)
	r.dockerUp = err == nil
	r.mu.Unlock()
	switch {
	case changed && err != nil:
		r.log.Warn("Docker does not answer: alerts are refused until it does", "err", err)
	case changed:
		r.log.Info("Docker answers again")
	}
}

// nextLook is how long nothing is expected to happen.
func (r *Remediator) nextLook() time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	wait := learnInterval
	for _, d := range r.state.debts {
		left := time.Until(d.due)
		if d.Phase != PhaseDown || left <= 0 {
			left = keepInterval
		}
		wait = min(wait, left)
	}
	for _, b := range r.state.breakers {
		if b.State == HalfOpen {
			wait = min(wait, max(time.Until(b.Closes), 0))
		}
	}
	return max(wait, r.opts.PollInterval)
}

// claim returns the debts that are to be looked at and nobody works on, and marks
// their targets.
func (r *Remediator) claim() []*Debt {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*Debt
	for target, d := range r.state.debts {
		waiting := d.Phase == PhaseDown && time.Until(d.due) > 0 && r.concluded(d) && !d.missed
		if r.inflight[target] || waiting || time.Until(d.retry) > 0 {
			continue
		}
		r.inflight[target] = true
		d.retry = time.Now().Add(keepInterval) // at the earliest, if this look changes nothing
		out = append(out, d)
	}
	return out
}

// concluded reports whether the record of a debt has its outcome. Under mu.
func (r *Remediator) concluded(d *Debt) bool {
	rec, ok := r.state.records[d.Record]
	return !ok || rec.Outcome != OutcomeRunning
}

// pay takes the next step for a debt.
func (r *Remediator) pay(ctx context.Context, d *Debt) {
	again := func(err error) {
		r.mu.Lock()
		d.delay = min(max(2*d.delay, keepInterval), maxStartDelay)
		d.retry = time.Now().Add(d.delay)
		r.mu.Unlock()
		if ctx.Err() == nil {
			r.log.Warn("Not started yet; trying again", "target", d.Target, "err", err, "in", d.delay)
		}
	}
	// By its id: one that was made anew under the same name is not it, and whoever
	// made it decides whether it runs.
	c, err := r.find(ctx, d.ID)
	if errors.Is(err, errGone) {
		r.settle(ctx, d, c, &Failure{Op: "start " + d.Target, Reason: FailGone, Err: err})
		return
	}
	if err != nil {
		again(err)
		return
	}
	due := r.isDue(d)
	if now := r.now(); c.Running() && d.Phase != PhaseDown && (now.rebooted(d.Mark) || c.Up > 0 && c.Up < now.since(d.Since, d.Mark)) {
		r.setPhase(ctx, d, PhaseDown) // this run began later than we did: an earlier process came so far, or the machine did
	}
	switch {
	case c.Down():
		if d.Phase != PhaseDown {
			r.setPhase(ctx, d, PhaseDown)
		}
		if !due {
			r.concludeEarlier(ctx, d, c, nil)
			return
		}
		if err := r.bringUp(ctx, c.ID, true); err != nil {
			again(fmt.Errorf("start: %w", err))
			return
		}
		r.opts.Failpoint("started")
		r.settle(ctx, d, c, nil)
	case !c.Running(): // on its way, by its restart policy
	case d.Phase == PhaseDown, c.Role == RoleService:
		if due { // somebody else started it
			r.settle(ctx, d, c, nil)
		} else {
			r.concludeEarlier(ctx, d, c, nil)
		}
	default:
		r.payRunning(ctx, d, c, due, again)
	}
}

// isDue reports whether it is time to start the container. A reset may move it.
func (r *Remediator) isDue(d *Debt) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Until(d.due) <= 0
}

// payRunning finishes what was begun on a runner that still runs: it has a job, or
// the signal never reached it, or it ignores it.
func (r *Remediator) payRunning(ctx context.Context, d *Debt, c Container, due bool, again func(error)) {
	if l, err := probe(ctx, r.opts.Docker, c); err != nil || l == loadBusy {
		return // waits, however long the job takes
	}
	if d.Phase == PhaseIntent { // the signal may have been sent or not
		if err := r.call(ctx, func(ctx context.Context) error { return r.opts.Docker.Terminate(ctx, c.ID) }); err != nil {
			again(fmt.Errorf("SIGTERM: %w", err))
			return
		}
		r.setPhase(ctx, d, PhaseTerminated)
	}
	wait, cancel := context.WithTimeout(ctx, r.opts.RestartTimeout)
	how, err := r.drain(wait, c.ID, func(string, ...any) {})
	cancel()
	if err != nil || how == drainedBusy || how == drainedBlind || ctx.Err() != nil {
		return
	}
	if how == drainedDown {
		r.setPhase(ctx, d, PhaseDown)
	}
	switch {
	case due:
		if err := r.bringUp(ctx, c.ID, how == drainedDown); err != nil {
			again(fmt.Errorf("start: %w", err))
			return
		}
		r.opts.Failpoint("started")
		r.setPhase(ctx, d, PhaseDown)
		r.settle(ctx, d, c, nil)
	case how == drainedIdle:
		if err := r.call(ctx, func(ctx context.Context) error { return r.opts.Docker.Stop(ctx, c.ID, hardTimeout) }); err != nil {
			again(fmt.Errorf("stop: %w", err))
			return
		}
		r.setPhase(ctx, d, PhaseDown)
		r.concludeEarlier(ctx, d, c, nil)
	default:
		r.concludeEarlier(ctx, d, c, nil)
	}
}

// settle ends a debt: the container was started, or is gone. A back-off goes on
// with probation, also for the container that took the place of one that is gone.
func (r *Remediator) settle(ctx context.Context, d *Debt, c Container, failure error) {
	r.mu.Lock()
	open := !r.concluded(d)
	r.mu.Unlock()
	if open { // an earlier process began it: the outcome is still to be found
		r.concludeEarlier(ctx, d, c, failure)
		if ctx.Err() != nil {
			return // once more at the next start
		}
	}
	now := r.now()
	writes := []write{del(bucketDebts, []byte(d.Target))}
	r.mu.Lock()
	b, had := r.state.breakers[d.Target]
	if d.Action == ActionBackoff && had {
		b = b.probation(now, r.opts.BackoffProbation)
		writes = append(writes, put(bucketBreakers, []byte(d.Target), b))
	}
	rec, known := r.state.records[d.Record]
	if known && !open {
		note := "started again at " + now.UTC().Format(timeFormat)
		if failure != nil {
			note = clean(failure.Error(), maxDetail)
		}
		rec = rec.copy()
		rec.Evidence = append(rec.Evidence, note)
		writes = append(writes, put(bucketRecords, seqKey(rec.ID), rec))
	}
	r.mu.Unlock()
	if err := r.writeOn(ctx, writes...); err != nil {
		return
	}
	r.opts.Failpoint("settled")
	r.mu.Lock()
	delete(r.state.debts, d.Target)
	if known && !open {
		r.state.records[rec.ID] = rec
	}
	if d.Action == ActionBackoff && had {
		r.state.breakers[d.Target] = b
	}
	r.mu.Unlock()
	if failure != nil {
		r.log.Warn("Nothing left to start", "action", d.Action, "target", d.Target, "err", failure)
		return
	}
	r.log.Info("Running again", "action", d.Action, "target", d.Target, "container", d.Container)
}

// concludeEarlier gives a record that an earlier process left running its outcome.
func (r *Remediator) concludeEarlier(ctx context.Context, d *Debt, c Container, failure error) {
	r.mu.Lock()
	rec, ok := r.state.records[d.Record]
	debt := *d
	r.mu.Unlock()
	if !ok || rec.Outcome != OutcomeRunning {
		return
	}
	rec = rec.copy()
	d = &debt
	all, _ := r.containers.recent(ctx) // without it a slot may be taken for another with a longer name
	a := &Attempt{
		Plan:   Plan{Alert: rec.Alert, Action: r.action(d.Action), Container: c, Target: d.Target, Length: d.Length, Containers: all},
		Record: &rec, debt: d, r: r,
		up: d.Action == ActionRestart && failure == nil,
	}
	a.Note("finished after the remediator was started again")
	err := failure
	// A back-off whose time was up while nobody was there is over: there is
	// nothing left to see of it but the runner that runs.
	if err == nil && (d.Action != ActionBackoff || time.Until(d.due) > 0) {
		act, end := r.outlive(ctx)
		verify, cancel := context.WithTimeout(act, r.opts.VerifyTimeout)
		err = a.Plan.Action.Verify(verify, a)
		cancel()
		end()
	}
	if ctx.Err() != nil && err != nil {
		return
	}
	r.conclude(ctx, a, err)
}

// endProbations closes the breakers whose runners had no fire for long enough.
func (r *Remediator) endProbations(ctx context.Context) {
	r.mu.Lock()
	var over []string
	for runner, b := range r.state.breakers {
		if b.State == HalfOpen && time.Until(b.Closes) <= 0 && !r.inflight[runner] {
			over = append(over, runner)
			r.inflight[runner] = true // nobody opens it meanwhile
		}
	}
	r.mu.Unlock()
	for _, runner := range over {
		err := r.write(ctx, del(bucketBreakers, []byte(runner)))
		if err == nil { // else tried again at the next look
			r.mu.Lock()
			delete(r.state.breakers, runner)
			r.mu.Unlock()
			r.log.Info("Probation is over, breaker closed", "runner", runner)
		}
		r.release(runner)
	}
}

// ErrUnknownRunner is a runner that the remediator has never seen.
var ErrUnknownRunner = errors.New("no such runner")

// Reset ends the back-off of a runner: it is started now if it is down, and is on
// probation from now on.
func (r *Remediator) Reset(ctx context.Context, runner string) error {
	now := r.now()
	r.mu.Lock()
	_, known := r.state.fires[runner]
	d := r.state.debts[runner]
	b, had := r.state.breakers[runner]
	var writes []write
	if had {
		b = b.reset(now, r.opts.BackoffProbation)
		writes = append(writes, put(bucketBreakers, []byte(runner), b))
	}
	var next Debt
	if d != nil && d.Action == ActionBackoff {
		next = *d
		next.StartAt, next.Length = now.Time, 0
		writes = append(writes, put(bucketDebts, []byte(runner), next))
	}
	r.mu.Unlock()
	if !known {
		return ErrUnknownRunner
	}
	if err := r.write(ctx, writes...); err != nil {
		return err
	}
	r.mu.Lock()
	if had {
		r.state.breakers[runner] = b
	}
	if d != nil && d.Action == ActionBackoff {
		d.StartAt, d.due, d.Length, d.retry = next.StartAt, next.StartAt, 0, time.Time{}
	}
	r.mu.Unlock()
	r.log.Info("Breaker reset by an operator", "runner", runner)
	signal(r.nudge)
	return nil
}
