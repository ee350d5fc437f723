package remedy

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"
)

// inboxBatch is how many alerts are decided between two writes.
const inboxBatch = 256

// shutdownGrace is how long an action in progress may go on after the program was
// told to stop; shorter than the 10 s after which Docker kills it.
const shutdownGrace = 6 * time.Second

// queued is one accepted alert.
type queued struct {
	seq   uint64
	alert Alert
}

// work decides one alert after the other, until ctx ends, and acts. At most one
// container is taken down at a time; verification and prune, which take minutes,
// go on beside. An alert whose target is being worked on stays in the inbox and is
// decided again after that. Whatever is not decided stays in the inbox.
func (r *Remediator) work(ctx context.Context) {
	var beside sync.WaitGroup
	defer beside.Wait()
	next := uint64(0) // the ones before it wait for their targets
	for ctx.Err() == nil {
		items, err := r.inbox(next)
		if err != nil {
			r.log.Error("Accepted alerts cannot be read; trying again", "err", err)
			sleep(ctx, reopenInterval)
			continue
		}
		if len(items) == 0 {
			select {
			case <-r.wake:
			case <-ctx.Done():
			}
			next = 0
			continue
		}
		next = items[len(items)-1].seq + 1
		if !r.handle(ctx, items, &beside) {
			sleep(ctx, time.Second)
			next = 0
		}
	}
}

// inbox returns the alerts from a sequence number on that have waited longest.
func (r *Remediator) inbox(from uint64) ([]queued, error) {
	r.mu.Lock()
	j := r.journal
	r.mu.Unlock()
	var items []queued
	err := j.each(bucketInbox, seqKey(from), func(k, v []byte) (bool, error) {
		seq, err := keySeq(k)
		if err != nil {
			return false, err
		}
		it := queued{seq: seq}
		if err := json.Unmarshal(v, &it.alert); err != nil {
			return false, err
		}
		items = append(items, it)
		return len(items) < inboxBatch, nil
	})
	return items, err
}

// handle decides a batch. Refusals are written together; before an action begins
// everything decided so far is on disk. False: something is to be decided again.
func (r *Remediator) handle(ctx context.Context, items []queued, beside *sync.WaitGroup) bool {
	guards := r.Guards()
	var writes []write
	var decided []queued
	flush := func() bool {
		if len(decided) == 0 {
			return true
		}
		if err := r.writeOn(ctx, writes...); err != nil {
			return false
		}
		r.decided(decided)
		writes, decided = nil, nil
		return true
	}
	for _, it := range items {
		d := decide(ctx, guards, it.alert)
		if ctx.Err() != nil { // a guard that was cut short says nothing
			break
		}
		switch {
		case d.Plan.Wait:
		case d.Refused != "":
			writes = append(writes, r.refuse(it, d)...)
			decided = append(decided, it)
		case !flush() || !r.execute(ctx, it, d, beside):
			return false
		}
	}
	return flush()
}

// decided takes alerts out of the queue.
func (r *Remediator) decided(items []queued) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, it := range items {
		if r.state.pending[it.alert.key()].seq == it.seq {
			delete(r.state.pending, it.alert.key())
		}
		r.state.queue--
	}
}

// refuse counts a refusal and returns what is to be written of it. The same
// refusal again is one record with a higher count.
func (r *Remediator) refuse(it queued, d Decision) []write {
	now := time.Now()
	rec := Record{
		V: recordVersion, Outcome: OutcomeRefused, Action: d.Plan.Action.Name, Target: d.Plan.Target,
		Container: d.Plan.Container.Name, Reason: string(d.Refused), Detail: d.Detail,
		Alert: it.alert, Verdicts: d.Verdicts, Began: now, Ended: now, Count: 1,
	}
	rec.Evidence = bounded(d.Plan.Would)
	if rec.Action == "" {
		rec.Action = actionUnknown
	}
	r.metrics.refused.WithLabelValues(rec.Action, rec.Reason).Inc()
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, ok := r.state.refusals[refusalKey(rec)]; ok {
		rec.ID, rec.Began, rec.Count = old.ID, old.Began, old.Count+1
	} else {
		rec.ID = r.state.nextID
		r.state.nextID++
		r.log.Info("Refused", "action", rec.Action, "target", rec.Target, "alert", it.alert.Name(),
			"reason", rec.Reason, "detail", rec.Detail)
	}
	r.state.refusals[refusalKey(rec)] = rec
	writes := []write{del(bucketInbox, seqKey(it.seq)), put(bucketRefusals, seqKey(rec.ID), rec)}
	return append(writes, r.state.evict(now)...)
}

// execute makes the intent durable and acts; beside the worker it verifies and
// makes the outcome durable. False: the intent could not be written, so nothing was
// done and the alert waits.
func (r *Remediator) execute(ctx context.Context, it queued, d Decision, beside *sync.WaitGroup) bool {
	a, ok := r.begin(ctx, it, d)
	if !ok {
		return false
	}
	r.opts.Failpoint("intent")
	action := d.Plan.Action
	act, cancel := r.outlive(ctx)
	do := func() error {
		act, cancel := context.WithTimeout(act, action.Timeout)
		defer cancel()
		return action.Do(act, a)
	}
	finish := func(err error) {
		defer r.release(a.Record.Target)
		defer cancel()
		if err == nil {
			act, cancel := context.WithTimeout(act, r.opts.VerifyTimeout)
			defer cancel()
			err = action.Verify(act, a)
		}
		if err != nil && ctx.Err() != nil {
			r.log.Warn("Stopped in the middle of an action; it is finished at the next start",
				"action", a.Record.Action, "target", a.Record.Target)
			return
		}
		r.conclude(ctx, a, err)
	}
	if action.Engine {
		beside.Go(func() { finish(do()) })
	} else {
		err := do()
		beside.Go(func() { finish(err) })
	}
	return true
}

// outlive lets an action go on for a moment after ctx ended.
func (r *Remediator) outlive(ctx context.Context) (context.Context, context.CancelFunc) {
	act, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		sleep(act, shutdownGrace)
		cancel()
	})
	return act, func() { stop(); cancel() }
}

// begin writes the intent: the record, the debt, the breaker and the fire, in the
// transaction that takes the alert out of the inbox.
func (r *Remediator) begin(ctx context.Context, it queued, d Decision) (*Attempt, bool) {
	at := r.now()
	now := at.Time
	p := d.Plan
	rec := &Record{
		V: recordVersion, Outcome: OutcomeRunning, Action: p.Action.Name, Target: p.Target,
		Container: p.Container.Name, Alert: it.alert, Verdicts: d.Verdicts, Rung: p.Rung, Began: now, Count: 1,
	}
	if asked := it.alert.Remediation(); asked != rec.Action {
		rec.Asked = asked
	}
	rec.Fire = p.Action.Name == ActionRestart && it.alert.Name() == AlertRetryLoop && p.Container.Role == RoleRunner
	a := &Attempt{Plan: p, Record: rec, r: r}
	if p.Disbelieved != "" {
		a.Note("%s", p.Disbelieved)
	}

	r.mu.Lock()
	if r.inflight[p.Target] { // since the guard looked: it is decided again
		r.mu.Unlock()
		return nil, false
	}
	rec.ID = r.state.nextID
	r.state.nextID++
	writes := []write{
		del(bucketInbox, seqKey(it.seq)),
		put(bucketRecords, seqKey(rec.ID), rec),
		putLast(rec.Action, rec.Target, now),
	}
	if p.Action.Takes {
		a.debt = &Debt{
			V: recordVersion, Target: p.Target, Container: p.Container.Name, ID: p.Container.ID,
			Action: p.Action.Name, Record: rec.ID, Phase: PhaseIntent, Since: now, Mark: at.mark, Length: p.Length,
			StartAt: now.Add(p.Length), due: now.Add(p.Length),
		}
		if p.Container.Role == RoleRunner {
			a.debt.Runner = p.Container.Runner
		}
		writes = append(writes, put(bucketDebts, []byte(p.Target), a.debt))
	}
	var breaker Breaker
	if p.Action.Name == ActionBackoff {
		breaker = r.state.breakers[p.Target].opened(at, p.Length)
		breaker.Ladder = breaker.Ladder || p.InVain
		writes = append(writes, put(bucketBreakers, []byte(p.Target), breaker))
	}
	fires := r.state.fires[p.Target]
	if rec.Fire {
		fires++
		writes = append(writes, putFires(p.Target, fires))
	}
	r.inflight[p.Target] = true // before the debt is seen by the keeper
	r.mu.Unlock()

	if err := r.write(context.WithoutCancel(ctx), writes...); err != nil {
		r.release(p.Target)
		r.log.Error("Not begun", "action", rec.Action, "target", rec.Target, "err", err)
		return nil, false
	}
	r.mu.Lock()
	r.state.records[rec.ID] = rec.copy()
	r.state.last[lastKey(rec.Action, rec.Target)] = now
	r.state.done[it.alert.key()] = now
	if a.debt != nil {
		r.state.debts[p.Target] = a.debt
	}
	if p.Action.Name == ActionBackoff {
		r.state.breakers[p.Target] = breaker
	}
	if p.Container.Role == RoleRunner {
		r.state.fires[p.Target] = fires
	}
	r.mu.Unlock()
	r.decided([]queued{it})
	if p.InVain {
		r.metrics.failures.WithLabelValues(it.alert.Remediation(), rec.Target, FailInVain).Inc()
	}
	r.metrics.reaction.WithLabelValues(rec.Action).Observe(max(now.Sub(it.alert.StartsAt), 0).Seconds())
	r.log.Info("Begun", "action", rec.Action, "target", rec.Target, "alert", it.alert.Name(),
		"container", rec.Container, "id", rec.ID)
	return a, true
}

// release lets others work on the target, and those that waited for it be decided.
func (r *Remediator) release(target string) {
	r.mu.Lock()
	delete(r.inflight, target)
	r.mu.Unlock()
	r.containers.forget()
	signal(r.nudge)
	signal(r.wake)
}

// conclude writes the outcome and settles the debt, if it is paid.
func (r *Remediator) conclude(ctx context.Context, a *Attempt, err error) {
	now := time.Now()
	rec := a.Record
	rec.Ended = now
	rec.Outcome = OutcomeCompleted
	if err != nil {
		rec.Outcome, rec.Reason, rec.Detail = OutcomeFailed, failReason(err), clean(err.Error(), maxDetail)
	}
	gone := rec.Reason == FailGone

	r.mu.Lock()
	r.state.last[lastKey(rec.Action, rec.Target)] = now
	writes := []write{put(bucketRecords, seqKey(rec.ID), rec), putLast(rec.Action, rec.Target, now)}
	paid := a.debt != nil && (a.up || gone)
	if paid {
		writes = append(writes, del(bucketDebts, []byte(rec.Target)))
	}
	if gone && rec.Action == ActionBackoff {
		b := r.state.breakers[rec.Target].probation(r.now(), r.opts.BackoffProbation)
		r.state.breakers[rec.Target] = b
		writes = append(writes, put(bucketBreakers, []byte(rec.Target), b))
	}
	r.state.records[rec.ID] = rec.copy()
	for key, at := range r.state.done {
		if now.Sub(at) > r.longestCooldown() {
			delete(r.state.done, key)
		}
	}
	for key, at := range r.state.last {
		if now.Sub(at) > r.longestCooldown() {
			delete(r.state.last, key)
			writes = append(writes, del(bucketLast, []byte(key)))
		}
	}
	r.state.done[rec.Alert.key()] = now
	writes = append(writes, r.state.evict(now)...)
	r.mu.Unlock()

	if werr := r.writeOn(ctx, writes...); werr != nil {
		r.log.Error("Outcome not written; it is looked at again at the next start",
			"action", rec.Action, "target", rec.Target, "err", werr)
	}
	r.opts.Failpoint("outcome")
	if paid {
		r.mu.Lock()
		delete(r.state.debts, rec.Target)
		r.mu.Unlock()
	}
	r.metrics.duration.WithLabelValues(rec.Action).Observe(now.Sub(rec.Began).Seconds())
	if err != nil {
		r.metrics.failures.WithLabelValues(rec.Action, rec.Target, rec.Reason).Inc()
		r.log.Error("Failed", "action", rec.Action, "target", rec.Target, "id", rec.ID, "err", err)
		return
	}
	r.metrics.actions.WithLabelValues(rec.Action, rec.Target).Inc()
	r.log.Info("Done and verified", "action", rec.Action, "target", rec.Target, "id", rec.ID,
		"took", now.Sub(rec.Began))
}

// setPhase notes how far a debt has come. If it cannot be written the action goes
// on all the same: half done is worse, and an earlier phase on disk only means
// that more is looked at again after a crash.
func (r *Remediator) setPhase(ctx context.Context, d *Debt, p Phase) {
	r.mu.Lock()
	d.Phase = p
	w := put(bucketDebts, []byte(d.Target), d)
	r.mu.Unlock()
	if err := r.write(context.WithoutCancel(ctx), w); err != nil {
		r.log.Warn("Phase not written", "target", d.Target, "phase", p, "err", err)
	}
	r.opts.Failpoint(string(p))
}

// copy is a record that nobody appends to.
func (r *Record) copy() Record {
	c := *r
	c.Evidence = slices.Clone(r.Evidence)
	return c
}
