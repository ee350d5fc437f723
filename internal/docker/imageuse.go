package docker

import (
	"context"
	"fmt"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"
)

// FollowImages calls used with the id of the image of every container of the engine, ours or not:
// of those that exist, and of each that is created or removed from now on. It returns nil when ctx
// ends, and an error when the stream breaks.
func (e *Engine) FollowImages(ctx context.Context, used func(id string)) error {
	stream, cancel := context.WithCancel(ctx)
	defer cancel()
	told, errs := e.api(ctx).Events(stream, events.ListOptions{Filters: filters.NewArgs(
		filters.Arg("type", string(events.ContainerEventType)),
		filters.Arg("event", string(events.ActionCreate)), filters.Arg("event", string(events.ActionDestroy)))})
	// After the stream is open, so that nothing falls between the two.
	list, cancelList := context.WithTimeout(ctx, callTimeout)
	sums, err := e.api(ctx).ContainerList(list, container.ListOptions{All: true})
	cancelList()
	if err != nil {
		return fmt.Errorf("list containers: %w", err)
	}
	image := make(map[string]string, len(sums)) // by container, because an event has only a name, which may have moved
	for i := range sums {
		image[sums[i].ID] = sums[i].ImageID
		used(sums[i].ImageID)
	}
	for {
		select {
		case m := <-told:
			id := m.Actor.ID
			if m.Action == events.ActionCreate {
				call, cancel := context.WithTimeout(ctx, callTimeout)
				info, err := e.api(ctx).ImageInspect(call, m.Actor.Attributes["image"])
				cancel()
				if err == nil {
					image[id] = info.ID
				}
			}
			if image[id] != "" {
				used(image[id])
			}
			if m.Action == events.ActionDestroy {
				delete(image, id)
			}
		case err := <-errs:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("events: %w", err)
		}
	}
}
