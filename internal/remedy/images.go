package remedy

import (
	"context"
	"time"
)

// Docker does not say when an image was last used. So its containers are watched, and what they are made from is
// remembered: an image that a job runs each hour for ten seconds is in use by nobody most of the time.

const (
	// maxUsedImages bounds what is remembered.
	maxUsedImages = 2000
	// usedAgain is how old the time on disk may get while an image is used again and again.
	usedAgain = time.Minute
	// followRetry is the pause after the engine broke off.
	followRetry = 5 * time.Second
)

// watchImages remembers the use of images until ctx ends.
func (r *Remediator) watchImages(ctx context.Context) {
	for ctx.Err() == nil {
		_ = r.opts.Docker.FollowImages(ctx, func(id string) { r.usedImage(ctx, id) }) // that Docker is gone is said by the keeper
		sleep(ctx, followRetry)
	}
}

// usedImage notes that an image is used now. A write that fails is made up for by the next use.
func (r *Remediator) usedImage(ctx context.Context, id string) {
	now := time.Now()
	r.mu.Lock()
	last, ok := r.state.used[id]
	r.mu.Unlock()
	// A last use that is yet to come is from before the clock was set back: now is what is known.
	if age := now.Sub(last); ok && age >= 0 && age < usedAgain {
		return
	}
	writes := []write{{bucket: bucketImages, key: []byte(id), value: []byte(now.UTC().Format(time.RFC3339Nano))}}
	r.mu.Lock()
	r.state.used[id] = now
	if len(r.state.used) > maxUsedImages {
		oldest := ""
		for other, t := range r.state.used {
			if other != id && (oldest == "" || t.Before(r.state.used[oldest])) {
				oldest = other
			}
		}
		delete(r.state.used, oldest)
		writes = append(writes, del(bucketImages, []byte(oldest)))
	}
	r.mu.Unlock()
	_ = r.write(ctx, writes...)
}

// lastUse is the last thing that is known to have happened to an image: it was made, it was given a name (as by a pull),
// or a container was made from it or removed.
func (r *Remediator) lastUse(i Image) time.Time {
	r.mu.Lock()
	used := r.state.used[i.ID]
	r.mu.Unlock()
	for _, t := range []time.Time{i.Created, i.Used} {
		if t.After(used) {
			used = t
		}
	}
	return used
}
