package docker

import (
	"context"
	"fmt"

	"github.com/docker/docker/api/types"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// The kinds of ReclaimableBytes.
const (
	kindImages     = "images"
	kindContainers = "containers"
	kindBuildCache = "build_cache"
)

// ReclaimableBytes returns how many bytes could be freed on the whole engine, by kind: images that
// no container is made from, the own layers of containers that do not run, and build cache that no
// build is using. Layers that such an image shares with one that is in use are not counted.
//
// The engine measures every container, and before API 1.42 every volume too, which can take
// minutes.
func (e *Engine) ReclaimableBytes(ctx context.Context) (map[string]uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	du, err := e.api(ctx).DiskUsage(ctx, types.DiskUsageOptions{
		Types: []types.DiskUsageObject{types.ImageObject, types.ContainerObject, types.BuildCacheObject},
	})
	if err != nil {
		return nil, fmt.Errorf("docker disk usage: %w", err)
	}
	out := map[string]uint64{kindImages: 0, kindContainers: 0, kindBuildCache: 0}
	used := map[string]bool{}
	for _, c := range du.Containers {
		used[c.ImageID] = true
		if c.State != runner.StateRunning && c.State != runner.StatePaused {
			out[kindContainers] += positive(c.SizeRw)
		}
	}
	for _, i := range du.Images {
		if !used[i.ID] {
			out[kindImages] += positive(i.Size - max(0, i.SharedSize))
		}
	}
	for _, b := range du.BuildCache {
		if !b.InUse && !b.Shared {
			out[kindBuildCache] += positive(b.Size)
		}
	}
	return out, nil
}

// positive drops the -1 that means "not measured".
func positive(n int64) uint64 { return uint64(max(0, n)) }
