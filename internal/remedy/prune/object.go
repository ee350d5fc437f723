package prune

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// object is one thing that may be removed.
type object struct {
	kind, name string
	size       uint64
	used       time.Time // when it was last used, as far as that is known
	remove     func(ctx context.Context) (freed uint64, err error)
}

// lists are what is removed, in order. Each lists its objects when its turn comes.
func (r *run) lists() []func(context.Context) ([]object, error) {
	return []func(context.Context) ([]object, error){
		r.cache,
		func(ctx context.Context) ([]object, error) {
			return r.images(ctx, func(i Image) bool { return i.Dangling })
		},
		r.leftovers,
		func(ctx context.Context) ([]object, error) {
			return r.images(ctx, func(i Image) bool { return !i.Dangling && time.Since(i.Used) >= r.MinAge })
		},
	}
}

// mayGo reports whether an object may be removed now: while a job runs nothing that was used within
// the hour. The engine itself knows what in the build cache is that young.
func (r *run) mayGo(o object) bool {
	return r.busy == "" || o.kind == buildCache || time.Since(o.used) >= busyAge
}

// cacheAge is the least time for which an entry of the build cache that may go was not used.
func (r *run) cacheAge() time.Duration {
	if r.busy == "" {
		return 0
	}
	return busyAge
}

func (r *run) cache(context.Context) ([]object, error) {
	if r.Label != "" {
		return nil, nil
	}
	return []object{{kind: buildCache, name: "of all builds", remove: func(ctx context.Context) (uint64, error) {
		return r.Docker.PruneBuildCache(ctx, r.cacheAge())
	}}}, nil
}

// images lists the images that may go, the least recently used first.
func (r *run) images(ctx context.Context, may func(Image) bool) ([]object, error) {
	list, err := r.Docker.Images(ctx, r.Label)
	if err != nil {
		return nil, fmt.Errorf("list images: %w", err)
	}
	for i := range list {
		list[i].Used = r.lastUse(list[i])
	}
	list = slices.DeleteFunc(list, func(i Image) bool { return i.InUse || r.keeps(i) || !may(i) })
	slices.SortFunc(list, func(x, y Image) int { return cmp.Or(x.Used.Compare(y.Used), cmp.Compare(x.ID, y.ID)) })
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
func (r *run) lastUse(i Image) time.Time {
	used := r.LastUse(i.ID)
	for _, t := range []time.Time{i.Created, i.Used} {
		if t.After(used) {
			used = t
		}
	}
	return used
}

// keeps reports whether an image is never removed: a name or the id matches the keep list, or one
// of our containers is made from that name, so that its next start needs the image.
func (r *run) keeps(i Image) bool {
	for _, name := range append([]string{i.ID}, i.Tags...) {
		if r.Keep != nil && r.Keep.MatchString(name) {
			return true
		}
		for _, ours := range r.Ours {
			if ours == name || ours+":latest" == name {
				return true
			}
		}
	}
	return false
}

func (r *run) leftovers(ctx context.Context) ([]object, error) {
	if r.Label == "" {
		return nil, nil
	}
	list, err := r.Docker.Leftovers(ctx, r.Label)
	if err != nil {
		return nil, fmt.Errorf("list stopped containers: %w", err)
	}
	slices.SortFunc(list, func(x, y Leftover) int {
		return cmp.Or(x.Created.Compare(y.Created), cmp.Compare(x.ID, y.ID))
	})
	out := make([]object, len(list))
	for i, l := range list {
		size := uint64(max(l.Size, 0))
		out[i] = object{kind: containers, name: l.Name, size: size, used: l.Created, remove: func(ctx context.Context) (uint64, error) {
			return size, r.Docker.RemoveContainer(ctx, l.ID)
		}}
	}
	return out, nil
}
