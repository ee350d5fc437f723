package remedy

import (
	"context"
	"path"
	"slices"
	"strings"
	"time"
)

// Roles of a container (label ghostrunner.role).
const (
	RoleRunner  = "runner"
	RoleService = "service"
)

// Container is what the remediator must know of a container.
type Container struct {
	ID, Name string
	// Role, Runner and Heal are the container's ghostrunner labels.
	Role, Runner string
	Heal         []string
	// Scope is where a runner registers at GitHub, its label ghostrunner.scope or the default.
	Scope string
	// Image is the image's name as the container was made with.
	Image string
	// State is Docker's word: created running paused restarting removing exited dead.
	State string
	// Up is the longest time for which the present run can have lasted; 0 if that is not known.
	Up time.Duration
	// Health is "" without a health check, else starting, healthy or unhealthy.
	Health string
}

// Running reports whether the container has processes. A paused one has; one
// that waits for its restart policy ("restarting") has not.
func (c Container) Running() bool { return c.State == "running" || c.State == "paused" }

// Down reports whether the container has ended and will stay so until somebody
// starts it.
func (c Container) Down() bool {
	return c.State == "exited" || c.State == "created" || c.State == "dead"
}

// allows reports whether the container's own label names the action.
func (c Container) allows(action string) bool { return slices.Contains(c.Heal, action) }

// Target is the name that metrics, journal and breaker use: the runner slot, or
// the container's name.
func (c Container) Target() string {
	if c.Role == RoleRunner && c.Runner != "" {
		return c.Runner
	}
	return c.Name
}

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

// workerName is the process that runs a job; it lives exactly as long as the
// job (actions/runner JobDispatcher.cs, ProcessInvoker of bin/Runner.Worker).
const workerName = "Runner.Worker"

// isWorker reports whether a command line is that of a job's worker process:
// its executable is called exactly Runner.Worker, or a word of it is a path that
// ends in /Runner.Worker. The second covers paths with spaces, which a process
// listing does not quote. A step that names such a path makes its runner look
// busy, which is safe; nothing that a job prints or is called makes it look idle.
func isWorker(command string) bool {
	words := strings.Fields(command)
	for i, w := range words {
		for _, name := range []string{workerName, workerName + ".dll"} {
			if path.Base(w) == name && (i == 0 || strings.Contains(w, "/")) {
				return true
			}
		}
	}
	return false
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
	if slices.ContainsFunc(commands, isWorker) {
		return loadBusy, nil
	}
	return loadIdle, nil
}
