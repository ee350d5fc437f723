package remedy

import (
	"context"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// begin writes the intent, in the transaction that takes the alert out of the inbox, and begins. If
// it cannot be written nothing is done, and the alert waits.
func (r *Remediator) begin(ctx context.Context, q journal.Queued, d Decision) {
	p, now := d.Plan, r.opts.now()
	if !r.reconciler.claim(p.Target) {
		return // since the guard looked: the alert waits
	}
	rec := journal.Record{
		Outcome: journal.Running, Action: p.Action.Name, Target: p.Target, Container: p.Container.Name,
		Alert: q.Alert, Verdicts: d.Verdicts, Fire: p.Fire, Began: now.Time,
	}
	if asked := q.Alert.Remediation(); asked != rec.Action {
		rec.Asked = asked
	}
	online := r.reconciler.onlineBefore(p)
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
		if p.Container.Role == runner.RoleRunner {
			start.Runner = p.Container.Runner
		}
		t.PutStart(start)
		if rec.Action == ActionBackoff {
			b := opened(t.State().Breakers[p.Target], now, p.Length)
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
	r.reconciler.advance(ctx, start, online)
}

// watchImages remembers the use of images until ctx ends. Docker does not say when an image was last
// used: one that a job runs each hour for ten seconds is unused most of the time.
func (r *Remediator) watchImages(ctx context.Context) {
	for ctx.Err() == nil {
		_ = r.opts.Docker.FollowImages(ctx, r.usedImage) // observe logs that Docker is gone
		sleep(ctx, followRetry)
	}
}

const (
	// usedAgain is how old the time on disk may get while an image is used again and again.
	usedAgain = time.Minute
	// followRetry is the pause after the engine broke off.
	followRetry = 5 * time.Second
)

// usedImage notes that an image is used now. A write that fails is made up for by the next use.
func (r *Remediator) usedImage(id string) {
	now := time.Now()
	// A last use that is yet to come is from before the clock was set back: now is what is known.
	last, ok := r.store.State().ImageUse[id]
	if age := now.Sub(last); ok && age >= 0 && age < usedAgain {
		return
	}
	_ = r.store.Update(func(t *journal.Tx) error {
		t.UseImage(id, now)
		return nil
	})
}
