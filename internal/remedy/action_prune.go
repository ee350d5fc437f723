package remedy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Kinds of things that are pruned (label "kind" of reclaimed_bytes_total).
const (
	kindBuildCache = "build_cache"
	kindImages     = "images"
	kindContainers = "containers"
)

var pruneKinds = []string{kindBuildCache, kindImages, kindContainers}

// criticalFloor is the free space in bytes below which rules/disk.yml calls the disk critical, whatever threshold is
// configured: a prune must not call the disk recovered while that alert stands.
const criticalFloor = 2e9

// pruneTimeout bounds a prune; removing a large image takes a while.
const pruneTimeout = 10 * time.Minute

// prune is the action that makes room on the disk.
//
// To the world: removes what can be made again, in this order: the build cache,
// dangling images, stopped containers that we made (they carry the prune label and
// no role), then unused images older than the least age, the oldest first. It ends
// as soon as 1.2 times the threshold is free. An image that a container uses,
// running or not, is never removed, nor is anything by force; volumes and networks
// are never touched. With a prune label only what carries it is removed and the
// build cache, which has no labels, is left alone; without one no container is
// removed, because nothing says which are ours.
//
// Safe when no runner is busy (guard busy): a job that begins meanwhile ends it
// before the next object, because an image that the job has just pulled and not yet
// run looks unused. Below the critical floor the build cache alone is removed also
// while a job runs. Not undone: images are pulled or built
// again when they are needed. Blast radius: the engine's images and build cache.
func (r *Remediator) prune() Action {
	return Action{
		Name:     ActionPrune,
		Engine:   true,
		Timeout:  pruneTimeout,
		Cooldown: r.opts.PruneCooldown,
		Do: func(ctx context.Context, a *Attempt) error {
			return r.pruneAll(ctx, a)
		},
		Verify: func(ctx context.Context, a *Attempt) error {
			free, err := r.free(ctx)
			if err != nil {
				return a.fail(FailVerify, "", err)
			}
			a.Note("%d bytes are free", free)
			if free >= r.opts.PruneThreshold {
				return nil
			}
			err = fmt.Errorf("%d bytes are free, threshold is %d", free, r.opts.PruneThreshold)
			if a.Plan.Held != "" {
				return a.fail(FailBusy, "the rest is removed when no job runs", err)
			}
			return a.fail(FailNotEnough, "remove something by hand or enlarge the disk", err)
		},
	}
}

// pruneTarget is the free space in bytes at which a prune ends.
func (r *Remediator) pruneTarget() uint64 { return r.opts.PruneThreshold / 5 * 6 }

// free measures the free space where it is configured, or at Docker's root.
func (r *Remediator) free(ctx context.Context) (uint64, error) {
	path := r.opts.DiskPath
	if path == "" {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		root, err := r.opts.Docker.Root(ctx)
		if err != nil {
			return 0, fmt.Errorf("docker's root is not known: %w; set --disk.path", err)
		}
		path = root
	}
	free, err := r.opts.Free(path)
	if err != nil {
		return 0, fmt.Errorf("%w; set --disk.path to a folder that this program sees on the disk of Docker", err)
	}
	return free, nil
}

// pruneAll removes step by step until the target is free. A single object that
// cannot be removed does not end it.
func (r *Remediator) pruneAll(ctx context.Context, a *Attempt) error {
	before, err := r.free(ctx)
	if err != nil {
		return a.fail(FailEngine, "", err)
	}
	a.Note("%d bytes are free, %d are wanted", before, r.pruneTarget())
	var errs []error
	for i, step := range []func(context.Context, *Attempt) error{
		r.pruneBuildCache, r.pruneDangling, r.pruneLeftovers, r.pruneUnused,
	} {
		if i > 0 && r.enough(ctx, a) { // the guards looked before the first
			break
		}
		if err := step(ctx, a); err != nil {
			a.Note("%v", err)
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return a.fail(FailEngine, "", err)
	}
	return nil
}

func (r *Remediator) pruneBuildCache(ctx context.Context, a *Attempt) error {
	if r.opts.PruneLabel != "" {
		return nil
	}
	n, err := r.opts.Docker.PruneBuildCache(ctx)
	if err != nil {
		return fmt.Errorf("build cache: %w", err)
	}
	r.metrics.reclaimed.WithLabelValues(kindBuildCache).Add(float64(n))
	a.Note("build cache: %d bytes", n)
	return nil
}

func (r *Remediator) pruneDangling(ctx context.Context, a *Attempt) error {
	return r.pruneImages(ctx, a, func(i Image) bool { return i.Dangling })
}

func (r *Remediator) pruneUnused(ctx context.Context, a *Attempt) error {
	return r.pruneImages(ctx, a, func(i Image) bool {
		return !i.Dangling && time.Since(i.Created) >= r.opts.PruneMinAge
	})
}

func (r *Remediator) pruneImages(ctx context.Context, a *Attempt, may func(Image) bool) error {
	images, err := r.opts.Docker.Images(ctx, r.opts.PruneLabel)
	if err != nil {
		return fmt.Errorf("list images: %w", err)
	}
	images = slices.DeleteFunc(images, func(i Image) bool { return i.InUse || !may(i) })
	slices.SortFunc(images, func(x, y Image) int { return x.Created.Compare(y.Created) })
	for _, i := range images {
		if r.enough(ctx, a) {
			return ctx.Err()
		}
		name := i.ID
		if len(i.Tags) > 0 {
			name = i.Tags[0]
		}
		if err := r.opts.Docker.RemoveImage(ctx, i.ID); err != nil {
			a.Note("image %s stays: %v", name, err) // it came into use meanwhile, or has children
			continue
		}
		r.metrics.reclaimed.WithLabelValues(kindImages).Add(float64(max(i.Size, 0)))
		a.Note("removed image %s, %d bytes", name, i.Size)
	}
	return nil
}

func (r *Remediator) pruneLeftovers(ctx context.Context, a *Attempt) error {
	if r.opts.PruneLabel == "" {
		return nil
	}
	list, err := r.opts.Docker.Leftovers(ctx, r.opts.PruneLabel)
	if err != nil {
		return fmt.Errorf("list stopped containers: %w", err)
	}
	slices.SortFunc(list, func(x, y Leftover) int {
		return cmp.Or(x.Created.Compare(y.Created), cmp.Compare(x.ID, y.ID))
	})
	for _, l := range list {
		if r.enough(ctx, a) {
			return ctx.Err()
		}
		if err := r.opts.Docker.RemoveContainer(ctx, l.ID); err != nil {
			a.Note("container %s stays: %v", l.Name, err)
			continue
		}
		r.metrics.reclaimed.WithLabelValues(kindContainers).Add(float64(max(l.Size, 0)))
		a.Note("removed container %s, %d bytes", l.Name, l.Size)
	}
	return nil
}

// enough reports whether pruning is to end: the target is free, or nobody knows, or
// a job runs.
func (r *Remediator) enough(ctx context.Context, a *Attempt) bool {
	if ctx.Err() != nil || a.Plan.Held != "" {
		return true
	}
	if free, err := r.free(ctx); err != nil || free >= r.pruneTarget() {
		return true
	}
	list, err := r.containers.recent(ctx)
	if err != nil {
		a.Plan.Held = "the containers are not known: " + err.Error()
	} else {
		_, a.Plan.Held = r.occupied(ctx, list, list)
	}
	if a.Plan.Held == "" {
		return false
	}
	a.Note("ends here: %s", a.Plan.Held)
	return true
}
