package docker

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/build"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Images lists the images that carry the label (KEY=VALUE), or all of them if it is empty, oldest
// first. Intermediate layers of a build are not listed.
func (e *Engine) Images(ctx context.Context, label string) ([]runner.Image, error) {
	var sel selector
	if label != "" {
		l, err := parseLabel(label)
		if err != nil {
			return nil, fmt.Errorf("images: %w", err)
		}
		sel = selector{l}
	}
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	sums, err := e.api(ctx).ImageList(ctx, image.ListOptions{Filters: sel.filters(), SharedSize: true})
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	// Asked for after the images: a container made in between marks its image as in use.
	used, err := e.imagesInUse(ctx)
	if err != nil {
		return nil, fmt.Errorf("images: %w", err)
	}
	out := make([]runner.Image, 0, len(sums))
	for i := range sums {
		s := &sums[i]
		if !sel.matches(s.Labels) {
			continue
		}
		tags := references(s.RepoTags)
		i := runner.Image{
			ID:       s.ID,
			Tags:     tags,
			Size:     s.Size - max(0, s.SharedSize),
			Created:  time.Unix(s.Created, 0),
			Labels:   s.Labels,
			Dangling: len(tags) == 0 && len(references(s.RepoDigests)) == 0,
			InUse:    used[s.ID],
		}
		if len(tags) > 0 && !i.InUse {
			if info, err := e.api(ctx).ImageInspect(ctx, s.ID); err == nil { // else it is gone
				i.Used = info.Metadata.LastTagTime
			}
		}
		out = append(out, i)
	}
	slices.SortFunc(out, func(a, b runner.Image) int { return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID)) })
	return out, nil
}

// imagesInUse returns the ids of the images from which a container is made. All containers of the
// engine count, also those that are not ours.
func (e *Engine) imagesInUse(ctx context.Context) (map[string]bool, error) {
	sums, err := e.api(ctx).ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	used := make(map[string]bool, len(sums))
	for i := range sums {
		used[sums[i].ImageID] = true
	}
	return used, nil
}

// RemoveImage removes an image that no container is made from, with all of its names and with those
// of its parents that nothing else needs. It never forces. An image that is already gone is no
// error.
//
// The engine refuses to remove an image with several names by its id, so each name goes first; the
// last one takes the image with it (moby daemon/images/image_delete.go).
func (e *Engine) RemoveImage(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	used, err := e.imagesInUse(ctx)
	if err != nil {
		return fmt.Errorf("remove image %s: %w", shortImage(id), err)
	}
	if used[id] {
		return fmt.Errorf("remove image %s: %w", shortImage(id), ErrInUse)
	}
	// An image that others are built on cannot be removed; without its names it would only be
	// hidden.
	all, err := e.api(ctx).ImageList(ctx, image.ListOptions{All: true})
	if err != nil {
		return fmt.Errorf("remove image %s: list: %w", shortImage(id), err)
	}
	if slices.ContainsFunc(all, func(s image.Summary) bool { return s.ParentID == id }) {
		return fmt.Errorf("remove image %s: %w: other images are built on it", shortImage(id), ErrConflict)
	}
	// Names first, then digests: the last name of a repository takes its digests with it.
	for _, kind := range []func(image.InspectResponse) []string{
		func(i image.InspectResponse) []string { return i.RepoTags },
		func(i image.InspectResponse) []string { return i.RepoDigests },
	} {
		info, err := e.api(ctx).ImageInspect(ctx, id)
		if cerrdefs.IsNotFound(err) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("remove image %s: %w", shortImage(id), err)
		}
		for _, ref := range references(kind(info)) {
			if err := e.untag(ctx, ref, id); err != nil {
				return err
			}
		}
	}
	return removed(id, e.removeImage(ctx, id))
}

// untag removes one name of the image, if it still means this image: a build can have moved it.
func (e *Engine) untag(ctx context.Context, ref, id string) error {
	info, err := e.api(ctx).ImageInspect(ctx, ref)
	if cerrdefs.IsNotFound(err) || err == nil && info.ID != id {
		return nil
	}
	if err != nil {
		return fmt.Errorf("remove image %s: inspect %s: %w", shortImage(id), ref, err)
	}
	return removed(id, e.removeImage(ctx, ref))
}

func (e *Engine) removeImage(ctx context.Context, ref string) error {
	_, err := e.api(ctx).ImageRemove(ctx, ref, image.RemoveOptions{Force: false, PruneChildren: true})
	return err
}

// removed turns the engine's answer to a removal into an error.
func removed(id string, err error) error {
	switch {
	case err == nil, cerrdefs.IsNotFound(err):
		return nil
	case cerrdefs.IsConflict(err):
		return fmt.Errorf("remove image %s: %w: %w", shortImage(id), ErrConflict, err)
	}
	return fmt.Errorf("remove image %s: %w", shortImage(id), err)
}

// BuildCache returns the bytes in the build cache that no build is using, and none has used for
// that long. It is as expensive as ReclaimableBytes.
func (e *Engine) BuildCache(ctx context.Context, unused time.Duration) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	du, err := e.api(ctx).DiskUsage(ctx, types.DiskUsageOptions{Types: []types.DiskUsageObject{types.BuildCacheObject}})
	if err != nil {
		return 0, fmt.Errorf("build cache: %w", err)
	}
	var sum uint64
	for _, b := range du.BuildCache {
		used := b.CreatedAt
		if b.LastUsedAt != nil {
			used = *b.LastUsedAt
		}
		if !b.InUse && !b.Shared && time.Since(used) >= unused {
			sum += positive(b.Size)
		}
	}
	return sum, nil
}

// PruneBuildCache removes the build cache that no build is using, and none has used for that long,
// and returns the bytes that it freed. All of it can be built again. It has no owner, so callers
// that are confined to a label leave it.
func (e *Engine) PruneBuildCache(ctx context.Context, unused time.Duration) (reclaimed uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	which := filters.NewArgs()
	if unused > 0 {
		which.Add("until", unused.String())
	}
	report, err := e.api(ctx).BuildCachePrune(ctx, build.CachePruneOptions{All: true, Filters: which})
	switch {
	case cerrdefs.IsConflict(err):
		return 0, fmt.Errorf("prune build cache: %w: %w", ErrConflict, err)
	case err != nil:
		return 0, fmt.Errorf("prune build cache: %w", err)
	case report == nil:
		return 0, nil
	}
	return report.SpaceReclaimed, nil
}

// references drops the placeholders that engines before API 1.43 put in place of an absent name.
func references(refs []string) []string {
	var out []string
	for _, r := range refs {
		if r != "" && !strings.HasPrefix(r, "<none>") {
			out = append(out, r)
		}
	}
	return out
}

func shortImage(id string) string { return short(strings.TrimPrefix(id, "sha256:")) }
