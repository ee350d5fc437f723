package docker

import (
	"context"
	"testing"
	"time"
)

// The image of a container is in use when it is found, when it is made, and once more when it is
// removed.
func TestFollowImages(t *testing.T) {
	w := newWorld(t)
	there := w.create(spec{bare: true})
	ctx, stop := context.WithCancel(t.Context())
	seen, ended := make(chan string, 1000), make(chan error, 1)
	go func() { ended <- w.engine("").FollowImages(ctx, func(id string) { seen <- id }) }()
	next := func(what, image string) {
		t.Helper()
		for deadline := time.After(patience); ; {
			select {
			case id := <-seen:
				if id == image { // others use this engine too
					return
				}
			case err := <-ended:
				t.Fatalf("%s: ended: %v", what, err)
			case <-deadline:
				t.Fatalf("%s: no report that %s is used", what, image)
			}
		}
	}
	next("found", w.image)
	w.remove(there)
	next("removed", w.image)
	other := w.newImage("", "kind=other")
	made := w.create(spec{bare: true, image: other})
	next("made", other)
	w.remove(made)
	next("removed again", other)
	stop()
	if err := <-ended; err != nil {
		t.Errorf("told to stop: %v", err)
	}
}
