package remedy

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/remedy/prune"
)

const (
	// pruneTimeout bounds a prune; removing a large image takes a while.
	pruneTimeout = 10 * time.Minute
	// listTimeout bounds the listing of what a dry run would remove.
	listTimeout = time.Minute
)

// prune carries a prune out and writes its outcome.
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
	if err != nil {
		f := &failure{op: rec.Action + " " + rec.Target, reason: failDocker, err: err}
		switch {
		case errors.Is(err, prune.ErrBusy):
			f.reason, f.hint = failBusy, "the rest is removed when no job runs"
		case errors.Is(err, prune.ErrNotEnough):
			f.reason, f.hint = failNotEnough, "remove something by hand or enlarge the disk"
		}
		err = f
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
			return r.idle.check(ctx, list).Detail
		},
	}
	for _, c := range p.Containers {
		task.Ours = append(task.Ours, c.Image)
	}
	return task
}

// listPrune lists what a dry run would remove.
func (r *Remediator) listPrune(ctx context.Context, p Plan, would string) (lines []string, detail string) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	lines, sum, err := r.opts.Pruner.List(ctx, r.pruneTask(p))
	if err != nil {
		return lines, journal.Clean(would+"; not all is known: "+err.Error(), journal.MaxDetail)
	}
	return lines, fmt.Sprintf("%s: %d objects, %d bytes", would, len(lines), sum)
}
