package prune

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

type object struct {
	kind, name string
	size       uint64
	used       time.Time // when it was last used, as far as that is known
	remove     func(ctx context.Context) (freed uint64, err error)
}

func (r *run) lists() []func(context.Context) ([]object, error) {
	return []func(context.Context) ([]object, error){
		r.cache,
		func(ctx context.Context) ([]object, error) {
			return r.images(ctx, func(i runner.Image) bool { return i.Dangling })
		},
		r.leftovers,
		func(ctx context.Context) ([]object, error) {
			return r.images(ctx, func(i runner.Image) bool { return !i.Dangling && time.Since(i.Used) >= r.MinAge })
		},
	}
}

// mayGo reports whether an object may be removed now: while a job runs nothing that was used within
// the hour. The engine itself knows what in the build cache is that young.
func (r *run) mayGo(o object) bool {
	return r.busy == "" || o.kind == buildCache || time.Since(o.used) >= busyAge
}

func (r *run) cache(ctx context.Context) ([]object, error) {
	if r.Label != "" {
		return nil, nil
	}
	unused := time.Duration(0)
	if r.busy != "" {
		unused = busyAge
	}
	o := object{kind: buildCache, name: "of all builds", remove: func(ctx context.Context) (uint64, error) {
		return r.Docker.PruneBuildCache(ctx, unused)
	}}
	var err error
	if r.DryRun {
		o.size, err = r.Docker.BuildCache(ctx, unused)
	}
	return []object{o}, err
}

// images lists the images that may go, the least recently used first.
func (r *run) images(ctx context.Context, may func(runner.Image) bool) ([]object, error) {
	list, err := r.Docker.Images(ctx, r.Label)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	for i := range list {
		list[i].Used = r.lastUse(list[i])
	}
	list = slices.DeleteFunc(list, func(i runner.Image) bool { return i.InUse || r.keeps(i) || !may(i) })
	slices.SortFunc(list, func(x, y runner.Image) int { return cmp.Or(x.Used.Compare(y.Used), cmp.Compare(x.ID, y.ID)) })
	out := make([]object, len(list))
	for i, image := range list {
		name := image.ID
		if len(image.Tags) > 0 {
			name = image.Tags[0]
		}
		size := uint64(max(image.Size, 0))
		out[i] = object{kind: images, name: name, size: size, used: image.Used, remove: func(ctx context.Context) (uint64, error) {
			return size, r.Docker.RemoveImage(ctx, image.ID)
		}}
	}
	return out, nil
}

// lastUse is the last thing that is known to have happened to an image: it was made, it was given a
// name (as by a pull), or a container was made from it or removed.
func (r *run) lastUse(i runner.Image) time.Time {
	return slices.MaxFunc([]time.Time{r.LastUse(i.ID), i.Created, i.Used}, time.Time.Compare)
}

// keeps reports whether an image is never removed: a name or the id matches the keep list, or one
// of our containers is made from that name, so that its next start needs the image.
func (r *run) keeps(i runner.Image) bool {
	return slices.ContainsFunc(append([]string{i.ID}, i.Tags...), func(name string) bool {
		return r.Keep != nil && r.Keep.MatchString(name) || slices.Contains(r.Ours, name) ||
			slices.Contains(r.Ours, strings.TrimSuffix(name, ":latest"))
	})
}

func (r *run) leftovers(ctx context.Context) ([]object, error) {
	if r.Label == "" {
		return nil, nil
	}
	list, err := r.Docker.Leftovers(ctx, r.Label)
	if err != nil {
		return nil, fmt.Errorf("list stopped containers: %w", err)
	}
	out := make([]object, len(list))
	for i, l := range list {
		size := uint64(max(l.Size, 0))
		out[i] = object{kind: containers, name: l.Name, size: size, used: l.Created, remove: func(ctx context.Context) (uint64, error) {
			return size, r.Docker.RemoveContainer(ctx, l.ID)
		}}
	}
	return out, nil
}
