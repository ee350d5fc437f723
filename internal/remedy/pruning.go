package remedy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/remedy/prune"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

const (
	pruneTimeout = 10 * time.Minute // removing a large image takes a while
	listTimeout  = time.Minute
	// usedAgain is how old the time on disk may get while an image is used again and again.
	usedAgain = time.Minute
	// followRetry is the pause after the engine broke off.
	followRetry = 5 * time.Second
)

func (r *Remediator) prune(ctx context.Context, p Plan, rec journal.Record) {
	defer r.reconciler.release(p.Target)
	act, cancel := outlive(ctx)
	defer cancel()
	bounded, cancel := context.WithTimeout(act, pruneTimeout)
	defer cancel()
	task := r.pruneTask(p)
	task.Note = func(format string, args ...any) { rec = rec.Note(format, args...) }
	task.Removed = func(kind string, bytes uint64) {
		r.metrics.reclaimed.WithLabelValues(kind).Add(float64(bytes))
		r.opts.Failpoint("pruned")
	}
	err := r.opts.Pruner.Run(bounded, task)
	if err != nil && ctx.Err() != nil {
		r.opts.Logger.Warn("Stopped in the middle of an action", "action", rec.Action, "target", rec.Target)
		return
	}
	switch {
	case errors.Is(err, prune.ErrBusy):
		err = &failure{failBusy, fmt.Errorf("%w; the rest is removed when no job runs", err)}
	case errors.Is(err, prune.ErrNotEnough):
		err = &failure{failNotEnough, fmt.Errorf("%w; remove something by hand or enlarge the disk", err)}
	}
	r.reconciler.conclude(ctx, &attempt{rec: rec, open: true}, err, false)
}

func (r *Remediator) pruneTask(p Plan) prune.Task {
	task := prune.Task{
		Space:   p.Space,
		LastUse: func(id string) time.Time { return r.store.State().ImageUse[id] },
		Busy: func(ctx context.Context) string {
			list, err := r.containers.recent(ctx)
			if err != nil {
				return "the containers are unknown: " + err.Error()
			}
			if v := r.idle.check(ctx, list); !v.OK {
				return v.Detail
			}
			return ""
		},
	}
	for _, c := range p.Containers {
		task.Ours = append(task.Ours, c.Image)
	}
	return task
}

func (r *Remediator) listPrune(ctx context.Context, p Plan, would string) (lines []string, detail string) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	task, sum := r.pruneTask(p), uint64(0)
	task.DryRun = true
	task.Note = func(format string, args ...any) { lines = append(lines, fmt.Sprintf(format, args...)) }
	task.Removed = func(_ string, bytes uint64) { sum += bytes }
	detail = would
	if err := r.opts.Pruner.Run(ctx, task); err != nil {
		detail += ", as far as it is known (" + err.Error() + ")"
	}
	return lines, runner.Printable(fmt.Sprintf("%s: %d objects, %d bytes", detail, len(lines), sum), journal.MaxDetail)
}

// watchImages remembers the use of images until ctx ends. Docker does not say when an image was
// last used: one that a job runs each hour for ten seconds is unused most of the time.
func (r *Remediator) watchImages(ctx context.Context) {
	for ctx.Err() == nil {
		_ = r.opts.Docker.FollowImages(ctx, r.usedImage) // observe logs that Docker is gone
		sleep(ctx, followRetry)
	}
}

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
