package remedy

import (
	"context"
	"slices"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// The shared vocabulary.
type (
	Container    = runner.Container
	Registration = runner.Registration
)

// Roles of a container (label ghostrunner.role).
const (
	RoleRunner  = runner.RoleRunner
	RoleService = runner.RoleService
)

// Image is an image of the engine.
type Image struct {
	ID              string
	Tags            []string
	Size            int64 // bytes that go with it, as far as Docker tells
	Created         time.Time
	Used            time.Time // when it was last given a name; zero if that is not known
	Dangling, InUse bool
}

// Leftover is a stopped container that carries the prune label and no role.
type Leftover struct {
	ID, Name string
	Created  time.Time
	Size     int64 // bytes of the writable layer, 0 if unknown
}

// Lister lists the containers that exist for this program.
type Lister interface {
	Containers(ctx context.Context) ([]Container, error)
}

// Prober looks into a container.
type Prober interface {
	// Processes returns the command lines of a running container.
	Processes(ctx context.Context, id string) ([]string, error)
}

// Controller changes the life of a container.
type Controller interface {
	// Terminate sends SIGTERM and returns at once.
	Terminate(ctx context.Context, id string) error
	// Stop and Restart kill after timeout; a negative timeout is the container's own.
	Stop(ctx context.Context, id string, timeout time.Duration) error
	Restart(ctx context.Context, id string, timeout time.Duration) error
	Start(ctx context.Context, id string) error
}

// Cleaner removes what can be made again.
type Cleaner interface {
	Images(ctx context.Context, label string) ([]Image, error)
	RemoveImage(ctx context.Context, id string) error
	// BuildCache returns the bytes in the build cache that nobody has used for that long, PruneBuildCache removes them.
	BuildCache(ctx context.Context, unused time.Duration) (uint64, error)
	PruneBuildCache(ctx context.Context, unused time.Duration) (uint64, error)
	Leftovers(ctx context.Context, label string) ([]Leftover, error)
	RemoveContainer(ctx context.Context, id string) error
	// FollowImages calls used with the id of each image that a container is made from, now and whenever one is made or
	// removed, until ctx ends or the engine breaks off.
	FollowImages(ctx context.Context, used func(id string)) error
	Root(ctx context.Context) (string, error)
}

// Docker is the engine as this package needs it.
type Docker interface {
	Lister
	Prober
	Controller
	Cleaner
}

// load is what is known of the work inside a container.
type load int

const (
	loadUnknown load = iota
	loadIdle
	loadBusy
)

// probe looks for a worker process. A container without processes is idle.
func probe(ctx context.Context, d Prober, c Container) (load, error) {
	if !c.Running() {
		return loadIdle, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	commands, err := d.Processes(ctx, c.ID)
	if err != nil {
		return loadUnknown, err
	}
	if len(commands) == 0 { // a running container has at least its first process
		return loadUnknown, errNoProcesses
	}
	if slices.ContainsFunc(commands, runner.IsWorker) {
		return loadBusy, nil
	}
	return loadIdle, nil
}
