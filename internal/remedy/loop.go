package remedy

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

const (
	observeInterval = 30 * time.Second
	inboxBatch      = 256 // alerts that are decided between two writes
	minSetBack      = time.Minute
)

// loop is the one place where something is done: it takes the next step for what is unfinished, and
// decides one alert after the other, until ctx ends. At most one container is taken down at a time;
// verification and prune, which take minutes, go on beside it.
func (r *Remediator) loop(ctx context.Context) {
	defer r.reconciler.beside.Wait()
	var observed time.Time
	before := r.opts.now()
	from := uint64(0) // alerts before it wait for their targets
	for ctx.Err() == nil {
		if r.store.Err() != nil {
			r.store.Probe()
		}
		if time.Since(observed) >= r.opts.scale(observeInterval) {
			observed = time.Now()
			r.observe(ctx)
		}
		before = r.watchClock(before)
		r.endProbations()
		r.reconciler.reconcile(ctx)
		if from = r.decideSome(ctx, from); from > 0 {
			continue
		}
		select {
		case <-r.wake:
		case <-time.After(max(r.opts.scale(retryInterval), r.opts.PollInterval)):
		case <-ctx.Done():
		}
	}
}

// observe looks for new runners, so that their series exist before anything happens to them, and
// for pending starts that have lost their container; and it bounds history.
func (r *Remediator) observe(ctx context.Context) {
	list, err := r.containers.recent(ctx)
	if ctx.Err() != nil {
		return
	}
	if down := err != nil; down && !r.dockerDown {
		r.opts.Logger.Warn("Docker does not answer: alerts are refused until it does", "err", err)
	} else if !down && r.dockerDown {
		r.opts.Logger.Info("Docker answers again")
	}
	r.dockerDown = err != nil
	state := r.store.State()
	_ = r.store.Update(func(t *journal.Tx) error { // what is not written is at the next look
		for _, c := range list {
			if _, known := state.Fires[c.Runner]; !known && c.Role == runner.RoleRunner && c.Runner != "" {
				t.AddFires(c.Runner, 0)
			}
		}
		t.Sweep(time.Now())
		return nil
	})
	for _, c := range list {
		for _, name := range c.Heal {
			if name == ActionRestart && (c.Role == runner.RoleRunner || c.Role == runner.RoleService) || name == ActionBackoff && c.Role == runner.RoleRunner {
				r.metrics.target(name, c.Target())
			}
		}
	}
	for target, p := range state.Starts {
		if list != nil && !slices.ContainsFunc(list, func(c runner.Container) bool { return c.ID == p.ID }) {
			r.reconciler.lookAgain(target)
		}
	}
}

// watchClock reports a step back of the wall clock. Until the old time has come again Prometheus
// records nothing and Alertmanager repeats nothing, so no rule can report it.
func (r *Remediator) watchClock(before journal.Instant) journal.Instant {
	now := r.opts.now()
	if by := now.SetBack(before); by >= minSetBack {
		r.setBack.Store(&SetBack{At: now.Time, By: by.Round(time.Second).String()})
		r.opts.Logger.Warn("The wall clock was set back: Prometheus and Alertmanager wait for the time that it showed", "by", by)
	}
	return now
}

// endProbations closes the breakers whose runners had no fire for long enough.
func (r *Remediator) endProbations() {
	now := r.opts.now()
	for target, b := range r.store.State().Breakers {
		if b.State != journal.HalfOpen || now.Left(b.Instant, r.opts.BackoffProbation) > 0 || r.reconciler.isClaimed(target) {
			continue
		}
		err := r.store.Update(func(t *journal.Tx) error {
			if t.State().Breakers[target] == b { // else it was reset meanwhile
				t.PutBreaker(target, journal.Breaker{State: journal.Closed})
			}
			return nil
		})
		if err == nil { // else it is tried again at the next look
			r.opts.Logger.Info("Probation is over, breaker closed", "runner", target)
		}
	}
}

// decideSome decides the next alerts in the inbox, until one leads to an action. It returns where
// to go on, 0 if there is nothing left to decide. An alert whose target is worked on stays in the
// inbox.
func (r *Remediator) decideSome(ctx context.Context, from uint64) uint64 {
	items, err := r.store.Inbox(from, inboxBatch)
	if err != nil {
		r.opts.Logger.Error("Accepted alerts cannot be read; trying again", "err", err)
		return 0
	}
	var refused []journal.Queued
	var records []journal.Record
	for _, q := range items {
		from = q.Seq + 1
		d := r.decide(ctx, q.Alert)
		if ctx.Err() != nil { // a stage that was cut short says nothing
			break
		}
		if d.Refused == "" {
			r.refuse(ctx, refused, records)
			r.begin(ctx, q, d)
			return from
		}
		if d.Refused != OneAtATime || !r.reconciler.isClaimed(d.Plan.Target) {
			refused, records = append(refused, q), append(records, d.refusal(q.Alert))
		}
	}
	r.refuse(ctx, refused, records)
	if len(items) < inboxBatch || ctx.Err() != nil {
		return 0
	}
	return from
}

// refuse writes refusals, and takes their alerts out of the inbox. If that fails they stay there.
func (r *Remediator) refuse(ctx context.Context, list []journal.Queued, records []journal.Record) {
	if len(list) == 0 {
		return
	}
	first := make([]bool, len(list))
	err := r.store.UpdateUntil(ctx, func(t *journal.Tx) error {
		for i, q := range list {
			t.Dequeue(q.Seq)
			first[i] = t.Refuse(records[i])
		}
		return nil
	})
	for i, rec := range records {
		if err != nil {
			return
		}
		r.metrics.refused.WithLabelValues(rec.Action, rec.Reason).Inc()
		if first[i] {
			r.opts.Logger.Info("Refused", "action", rec.Action, "target", rec.Target, "alert", rec.Alert.Name(),
				"reason", rec.Reason, "detail", rec.Detail)
		}
	}
}

func (d Decision) refusal(alert journal.Alert) journal.Record {
	now := time.Now()
	rec := journal.Record{
		Action: cmp.Or(d.Plan.Action.Name, actionUnknown), Target: d.Plan.Target, Container: d.Plan.Container.Name,
		Reason: d.Refused, Detail: d.Detail, Alert: alert, Verdicts: d.Verdicts, Began: now, Ended: now,
	}
	for _, line := range d.Would {
		rec = rec.Note("%s", line)
	}
	return rec
}

// begin writes the intent, in the transaction that takes the alert out of the inbox, and begins. If
// it cannot be written nothing is done, and the alert waits.
func (r *Remediator) begin(ctx context.Context, q journal.Queued, d Decision) {
	p, now := d.Plan, r.opts.now()
	r.reconciler.change(p.Target, func(t *task) { t.claimed = true }) // only this goroutine claims
	rec := journal.Record{
		Outcome: journal.Running, Action: p.Action.Name, Target: p.Target, Container: p.Container.Name,
		Alert: q.Alert, Verdicts: d.Verdicts, Fire: p.Fire, Began: now.Time,
	}
	if asked := q.Alert.Remediation(); asked != rec.Action {
		rec.Asked = asked
	}
	var begun journal.Record
	var start journal.PendingStart
	err := r.store.Update(func(t *journal.Tx) error {
		t.Dequeue(q.Seq)
		begun = t.PutRecord(rec)
		if p.Action.Engine {
			return nil
		}
		start = journal.PendingStart{
			Instant: now, Target: p.Target, Container: p.Container.Name, ID: p.Container.ID,
			Action: rec.Action, Record: begun.ID, Phase: journal.PhaseIntent, Length: p.Length,
		}
		t.PutStart(start)
		if rec.Action == ActionBackoff {
			b := t.State().Breakers[p.Target]
			b.Instant, b.State, b.Length = now, journal.Open, p.Length
			b.Openings++
			b.Ineffective = b.Ineffective || p.Ineffective != ""
			t.PutBreaker(p.Target, b)
		}
		if rec.Fire {
			t.AddFires(p.Target, 1)
		}
		return nil
	})
	if err != nil {
		r.opts.Logger.Error("Not begun", "action", rec.Action, "target", rec.Target, "err", err)
		r.reconciler.release(p.Target)
		sleep(ctx, retryInterval)
		return
	}
	if p.Ineffective != "" {
		r.metrics.failures.WithLabelValues(rec.Alert.Remediation(), rec.Target, failIneffective).Inc()
	}
	r.metrics.reaction.WithLabelValues(rec.Action).Observe(max(now.Time.Sub(rec.Alert.StartsAt), 0).Seconds())
	r.opts.Logger.Info("Begun", "action", rec.Action, "target", rec.Target, "alert", rec.Alert.Name(),
		"container", rec.Container, "id", begun.ID)
	r.opts.Failpoint("intent")
	if p.Action.Engine {
		r.reconciler.beside.Go(func() { r.prune(ctx, p, begun) })
		return
	}
	r.reconciler.advance(ctx, start)
}
