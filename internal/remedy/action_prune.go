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

const (
	// criticalFloor is the free space in bytes below which rules/remediation.yml calls the disk critical, whatever threshold is
	// configured: a prune must not call the disk recovered while that alert stands.
	criticalFloor = 2e9
	// heldAge is the least time since anything was last used that goes although a job runs.
	heldAge = time.Hour
	// pruneTimeout bounds a prune; removing a large image takes a while.
	pruneTimeout = 10 * time.Minute
	// shownTimeout is how long a file system may take to show what was removed: ext4 does when its journal commits, every
	// five seconds.
	shownTimeout = 6 * time.Second
)

// prune is the action that makes room on the disk.
//
// To the world: removes what can be made again, in this order: the build cache,
// dangling images, stopped containers that we made (they carry the prune label and
// no role), then unused images older than the least age, the one whose use lies back
// furthest first. It ends as soon as 1.2 times the threshold is free, by what the file
// system says. An image that a container uses, running or not, or that a container of
// ours is made from by name, or that the keep list names, is never removed, nor is
// anything by force; volumes and networks are never touched. With a prune label only
// what carries it is removed and the build cache, which has no labels, is left alone;
// without one no container is removed, because nothing says which are ours.
//
// Safe when no runner is busy (guard busy): a job that begins meanwhile ends it
// before the next object, because an image that the job has just pulled and not yet
// run looks unused. Below the critical floor it goes on while a job runs, until 1.2
// times the floor is free, but spares everything that was used within the last hour.
// Not undone: images are pulled or built again when they are needed. Blast radius:
// the engine's images and build cache.
func (r *Remediator) prune() Action {
	return Action{
		Name:     ActionPrune,
		Engine:   true,
		Timeout:  pruneTimeout,
		Cooldown: r.opts.PruneCooldown,
		Do: func(ctx context.Context, a *Attempt) error {
			p := &pruning{r: r, a: a}
			return p.all(ctx)
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

// item is one thing that may be removed.
type item struct {
	kind, name string
	size       uint64
	used       time.Time // when it was last used, as far as that is known
	remove     func(ctx context.Context) (freed uint64, err error)
}

// pruning is a prune in progress. Without an attempt it only lists.
type pruning struct {
	r        *Remediator
	a        *Attempt
	expected uint64 // what should be free by what Docker said that it removed
}

// steps are what is removed, in order. Each lists its items when its turn comes.
func (p *pruning) steps() []func(context.Context, *Plan) ([]item, error) {
	return []func(context.Context, *Plan) ([]item, error){
		p.r.cacheItems,
		func(ctx context.Context, plan *Plan) ([]item, error) {
			return p.r.imageItems(ctx, plan, func(i Image) bool { return i.Dangling })
		},
		p.r.leftoverItems,
		func(ctx context.Context, plan *Plan) ([]item, error) {
			return p.r.imageItems(ctx, plan, func(i Image) bool { return !i.Dangling && time.Since(i.Used) >= p.r.opts.PruneMinAge })
		},
	}
}

// all removes step by step until the target is free. A single object that cannot be removed does not end it.
func (p *pruning) all(ctx context.Context) error {
	before, err := p.r.free(ctx)
	if err != nil {
		return p.a.fail(FailEngine, "", err)
	}
	p.a.Note("%d bytes are free, %d are wanted", before, p.r.pruneTarget())
	p.expected = before
	freed := map[string]uint64{}
	var errs []error
	for i, step := range p.steps() {
		if i > 0 && p.enough(ctx) { // the guards looked before the first
			break
		}
		items, err := step(ctx, &p.a.Plan)
		if err != nil {
			p.a.Note("%v", err)
			errs = append(errs, err)
			continue
		}
		for j, it := range items {
			if j > 0 && p.enough(ctx) {
				break
			}
			if !it.mayGo(&p.a.Plan) { // a job has begun since the list was made
				continue
			}
			n, err := it.remove(ctx)
			if err != nil {
				p.a.Note("%s %s stays: %v", it.kind, it.name, err) // it came into use meanwhile, or has children
				if it.kind == kindBuildCache {
					errs = append(errs, err)
				}
				continue
			}
			p.expected += n
			freed[it.kind] += n
			p.r.metrics.reclaimed.WithLabelValues(it.kind).Add(float64(n))
			p.a.Note("removed %s %s, %d bytes", it.kind, it.name, n)
			p.r.opts.Failpoint("pruned")
		}
	}
	p.sum(ctx, before, freed)
	if err := errors.Join(errs...); err != nil {
		return p.a.fail(FailEngine, "", err)
	}
	return nil
}

// sum notes what was removed, by kind, and what of it the file system shows.
func (p *pruning) sum(ctx context.Context, before uint64, freed map[string]uint64) {
	var all uint64
	for _, kind := range pruneKinds {
		if freed[kind] > 0 {
			p.a.Note("%s: %d bytes by Docker's count", kind, freed[kind])
			all += freed[kind]
		}
	}
	after := p.shown(ctx, before+all)
	p.a.Note("the file system shows %+d bytes, Docker counts %d", int64(after)-int64(before), all) //nolint:gosec // no disk has 2^63 bytes
}

// shown waits until the file system shows that much free space, for a while, and returns what it shows then.
func (p *pruning) shown(ctx context.Context, want uint64) uint64 {
	wait, cancel := context.WithTimeout(ctx, shownTimeout)
	defer cancel()
	for {
		free, err := p.r.free(ctx)
		if err != nil || free >= want || !sleep(wait, p.r.opts.PollInterval) {
			return free
		}
	}
}

// enough reports whether pruning is to end: the target is free, or nobody knows, or a job runs and the disk is not all
// but full.
func (p *pruning) enough(ctx context.Context) bool {
	plan := &p.a.Plan
	target := p.r.pruneTarget()
	if plan.Held != "" {
		target = heldTarget
	}
	free, err := p.r.free(ctx)
	if err == nil && free < target && p.expected >= target { // perhaps it is there, and not yet shown
		free = p.shown(ctx, target)
		p.expected = free // what is not shown by now is in layers that others share
	}
	if ctx.Err() != nil || err != nil || free >= target {
		return true
	}
	if plan.Held != "" {
		return false
	}
	list, err := p.r.containers.recent(ctx)
	if err != nil {
		plan.Held = "the containers are not known: " + err.Error()
	} else {
		_, plan.Held, _ = p.r.occupied(ctx, list, list)
	}
	switch {
	case plan.Held == "":
		return false
	case free < criticalFloor:
		p.a.Note("goes on with what nobody has used for %s: %s", heldAge, plan.Held)
		return false
	}
	p.a.Note("ends here: %s", plan.Held)
	return true
}

// heldTarget is the free space in bytes at which a prune ends that goes on although a job runs.
const heldTarget = criticalFloor / 5 * 6

// mayGo reports whether an item may be removed now: while a job runs nothing that was used within the hour. The build
// cache knows better than we do what in it is young.
func (it item) mayGo(plan *Plan) bool {
	return plan.Held == "" || it.kind == kindBuildCache || time.Since(it.used) >= heldAge
}

func (r *Remediator) cacheItems(_ context.Context, plan *Plan) ([]item, error) {
	if r.opts.PruneLabel != "" {
		return nil, nil
	}
	var unused time.Duration
	if plan.Held != "" {
		unused = heldAge
	}
	return []item{{kind: kindBuildCache, name: "of all builds", remove: func(ctx context.Context) (uint64, error) {
		return r.opts.Docker.PruneBuildCache(ctx, unused)
	}}}, nil
}

// imageItems lists the images that may go, the one whose use lies back furthest first.
func (r *Remediator) imageItems(ctx context.Context, plan *Plan, may func(Image) bool) ([]item, error) {
	images, err := r.opts.Docker.Images(ctx, r.opts.PruneLabel)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	for i := range images {
		images[i].Used = r.lastUse(images[i])
	}
	images = slices.DeleteFunc(images, func(i Image) bool { return i.InUse || r.keeps(i, plan.Containers) || !may(i) })
	slices.SortFunc(images, func(x, y Image) int { return cmp.Or(x.Used.Compare(y.Used), cmp.Compare(x.ID, y.ID)) })
	out := make([]item, len(images))
	for i, image := range images {
		name := image.ID
		if len(image.Tags) > 0 {
			name = image.Tags[0]
		}
		size := uint64(max(image.Size, 0))
		out[i] = item{kind: kindImages, name: name, size: size, used: image.Used, remove: func(ctx context.Context) (uint64, error) {
			return size, r.opts.Docker.RemoveImage(ctx, image.ID)
		}}
	}
	return out, nil
}

// keeps reports whether an image is never removed: a name or the id matches the keep list, or a container of ours is made
// from that name, so that the next start of it needs the image.
func (r *Remediator) keeps(i Image, ours []Container) bool {
	for _, name := range append([]string{i.ID}, i.Tags...) {
		if r.opts.PruneKeep != nil && r.opts.PruneKeep.MatchString(name) {
			return true
		}
		if slices.ContainsFunc(ours, func(c Container) bool { return sameImage(c.Image, name) }) {
			return true
		}
	}
	return false
}

// sameImage compares the names of images; one without a tag means the latest.
func sameImage(a, b string) bool { return a == b || a+":latest" == b }

func (r *Remediator) leftoverItems(ctx context.Context, _ *Plan) ([]item, error) {
	if r.opts.PruneLabel == "" {
		return nil, nil
	}
	list, err := r.opts.Docker.Leftovers(ctx, r.opts.PruneLabel)
	if err != nil {
		return nil, fmt.Errorf("list stopped containers: %w", err)
	}
	slices.SortFunc(list, func(x, y Leftover) int {
		return cmp.Or(x.Created.Compare(y.Created), cmp.Compare(x.ID, y.ID))
	})
	out := make([]item, len(list))
	for i, l := range list {
		size := uint64(max(l.Size, 0))
		out[i] = item{kind: kindContainers, name: l.Name, size: size, used: l.Created, remove: func(ctx context.Context) (uint64, error) {
			return size, r.opts.Docker.RemoveContainer(ctx, l.ID)
		}}
	}
	return out, nil
}

// listTimeout bounds the listing of what a dry run would remove.
const listTimeout = time.Minute

// wouldPrune lists what a prune would remove now, by what Docker says of the sizes.
func (r *Remediator) wouldPrune(ctx context.Context, plan *Plan) (lines []string, sum uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, listTimeout)
	defer cancel()
	target := r.pruneTarget()
	if plan.Held != "" {
		target = heldTarget
	}
	for _, step := range (&pruning{r: r}).steps() {
		items, err := step(ctx, plan)
		if err != nil {
			return lines, sum, err
		}
		for _, it := range items {
			if plan.Free+sum >= target || !it.mayGo(plan) {
				continue
			}
			if it.kind == kindBuildCache {
				if it.size, err = r.opts.Docker.BuildCache(ctx, map[bool]time.Duration{true: heldAge}[plan.Held != ""]); err != nil {
					return lines, sum, err
				}
			}
			sum += it.size
			lines = append(lines, fmt.Sprintf("would remove %s %s, %d bytes", it.kind, it.name, it.size))
		}
	}
	return lines, sum, nil
}
