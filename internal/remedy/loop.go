package remedy

import (
	"context"
	"slices"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

const (
	// observeInterval is the time between two looks for new containers, and at the age of history.
	observeInterval = 30 * time.Second
	// inboxBatch is how many alerts are decided between two writes.
	inboxBatch = 256
	// minSetBack is the least step back of the wall clock that is reported.
	minSetBack = time.Minute
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
		if observed.IsZero() || time.Since(observed) >= r.opts.scale(observeInterval) {
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
		case <-time.After(r.nextLook()):
		case <-ctx.Done():
		}
	}
}

// nextLook is how long nothing is expected to happen.
func (r *Remediator) nextLook() time.Duration {
	state, now := r.store.State(), r.opts.now()
	wait := r.opts.scale(observeInterval)
	if r.store.Err() != nil {
		wait = retryInterval
	}
	for _, p := range state.Starts {
		left := now.Left(p.Instant, p.Length)
		if p.Phase != journal.PhaseDown || left == 0 || !state.Concluded(p) {
			left = r.opts.scale(retryInterval)
		}
		wait = min(wait, left)
	}
	for _, b := range state.Breakers {
		if b.State == journal.HalfOpen {
			wait = min(wait, now.Left(b.Instant, r.opts.BackoffProbation))
		}
	}
	return max(wait, r.opts.PollInterval)
}

// observe looks for new runners, so that their series exist before anything happens to them, and for
// pending starts that have lost their container; and it bounds history.
func (r *Remediator) observe(ctx context.Context) {
	list, err := r.containers.recent(ctx)
	if ctx.Err() != nil {
		return
	}
	r.logDocker(err)
	state := r.store.State()
	err = r.store.Update(func(t *journal.Tx) error {
		for _, c := range list {
			if _, known := state.Fires[c.Runner]; !known && c.Role == runner.RoleRunner && c.Runner != "" {
				t.AddFires(c.Runner, 0)
			}
		}
		t.Sweep(time.Now())
		return nil
	})
	if err != nil && ctx.Err() == nil {
		r.opts.Logger.Warn("Known runners could not be written down", "err", err)
	}
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

// logDocker logs when Docker goes and comes.
func (r *Remediator) logDocker(err error) {
	r.mu.Lock()
	changed := r.dockerUp != (err == nil)
	r.dockerUp = err == nil
	r.mu.Unlock()
	switch {
	case changed && err != nil:
		r.opts.Logger.Warn("Docker does not answer: alerts are refused until it does", "err", err)
	case changed:
		r.opts.Logger.Info("Docker answers again")
	}
}

// watchClock reports a step back of the wall clock. Until the old time has come again Prometheus
// records nothing and Alertmanager repeats nothing, so no rule can report it.
func (r *Remediator) watchClock(before journal.Instant) journal.Instant {
	now := r.opts.now()
	if by := now.SetBack(before); by >= minSetBack {
		r.mu.Lock()
		r.setBack = SetBack{At: now.Time, By: by.Round(time.Second).String()}
		r.mu.Unlock()
		r.opts.Logger.Warn("The wall clock was set back: Prometheus and Alertmanager wait for the time that it showed", "by", by)
	}
	return now
}

// endProbations closes the breakers whose runners had no fire for long enough.
func (r *Remediator) endProbations() {
	now := r.opts.now()
	over := func(b journal.Breaker) bool {
		return b.State == journal.HalfOpen && now.Left(b.Instant, r.opts.BackoffProbation) == 0
	}
	for target, b := range r.store.State().Breakers {
		if !over(b) || r.reconciler.isClaimed(target) {
			continue
		}
		err := r.store.Update(func(t *journal.Tx) error {
			if over(t.State().Breakers[target]) {
				t.PutBreaker(target, journal.Breaker{State: journal.Closed})
			}
			return nil
		})
		if err == nil { // else it is tried again at the next look
			r.opts.Logger.Info("Probation is over, breaker closed", "runner", target)
		}
	}
}

// decideSome decides the next alerts in the inbox, until one leads to an action. It returns where to
// go on, 0 if there is nothing left to decide. An alert whose target is worked on stays in the inbox.
func (r *Remediator) decideSome(ctx context.Context, from uint64) uint64 {
	items, err := r.store.Inbox(from, inboxBatch)
	if err != nil {
		r.opts.Logger.Error("Accepted alerts cannot be read; trying again", "err", err)
		return 0
	}
	var refused []refusal
	for _, q := range items {
		from = q.Seq + 1
		d := r.decide(ctx, q.Alert)
		switch {
		case ctx.Err() != nil: // a stage that was cut short says nothing
			r.refuse(ctx, refused)
			return 0
		case d.Refused == OneAtATime && r.reconciler.isClaimed(d.Plan.Target):
		case d.Refused != "":
			refused = append(refused, refusal{q, d, time.Now()})
		default:
			r.refuse(ctx, refused)
			r.begin(ctx, q, d)
			return from
		}
	}
	r.refuse(ctx, refused)
	if len(items) < inboxBatch {
		return 0
	}
	return from
}

// refusal is an alert that is not acted on.
type refusal struct {
	journal.Queued
	Decision

	at time.Time
}

// refuse writes refusals, and takes their alerts out of the inbox.
func (r *Remediator) refuse(ctx context.Context, list []refusal) {
	if len(list) == 0 {
		return
	}
	first := make([]bool, len(list))
	err := r.store.UpdateUntil(ctx, func(t *journal.Tx) error {
		for i, f := range list {
			t.Dequeue(f.Seq)
			first[i] = t.Refuse(f.record())
		}
		return nil
	})
	if err != nil {
		return // they stay in the inbox
	}
	for i, f := range list {
		rec := f.record()
		r.metrics.refused.WithLabelValues(rec.Action, rec.Reason).Inc()
		if first[i] {
			r.opts.Logger.Info("Refused", "action", rec.Action, "target", rec.Target, "alert", rec.Alert.Name(),
				"reason", rec.Reason, "detail", rec.Detail)
		}
	}
}

func (f refusal) record() journal.Record {
	rec := journal.Record{
		Action: f.Plan.Action.Name, Target: f.Plan.Target, Container: f.Plan.Container.Name,
		Reason: f.Refused, Detail: f.Detail, Alert: f.Alert, Verdicts: f.Verdicts, Began: f.at, Ended: f.at,
	}
	if rec.Action == "" {
		rec.Action = actionUnknown
	}
	for _, line := range f.Would {
		rec = rec.Note("%s", line)
	}
	return rec
}
