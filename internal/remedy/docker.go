package remedy

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/blueguy23/ghostrunner/internal/remedy/prune"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Lister lists the containers that exist for this program. The scope of a runner's container is
// where it registers.
type Lister interface {
	Containers(ctx context.Context) ([]runner.Container, error)
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

// Docker is the engine as this package needs it.
type Docker interface {
	Lister
	Prober
	Controller
	prune.Docker
	// FollowImages calls used with the id of each image that a container is made from, now and
	// whenever one is made or removed, until ctx ends or the engine breaks off.
	FollowImages(ctx context.Context, used func(id string)) error
}

// GitHub is the second, independent view of the runners. A scope is the place that a slot registers
// at.
type GitHub interface {
	// Known returns GitHub's last answer about a scope, without asking; false if it has not been
	// asked successfully of late.
	Known(scope string) ([]runner.Registration, bool)
	// Ask asks it now.
	Ask(ctx context.Context, scope string) ([]runner.Registration, error)
}

// registrationsOf picks the registrations of a container's slot.
func registrationsOf(list []runner.Registration, c runner.Container, all []runner.Container) []runner.Registration {
	return runner.NewSlots(append([]runner.Container{c}, all...), "").Registrations(list, c.Runner, c.Scope)
}

const (
	// callTimeout bounds a call that only reads from Docker.
	callTimeout = 10 * time.Second
	// listAge is how old a container list may be when a target is resolved, unless the alert is
	// younger. Actions look again for themselves.
	listAge = time.Second
	// glanceTimeout is how long a page waits for Docker.
	glanceTimeout = 500 * time.Millisecond
)

var (
	errGone        = errors.New("the container no longer exists")
	errNoProcesses = errors.New("docker lists no process at all")
)

// working reports whether a worker process, and so a job, is in a container. One without processes
// has none.
func working(ctx context.Context, d Prober, c runner.Container) (bool, error) {
	if !c.Running() {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	commands, err := d.Processes(ctx, c.ID)
	if err != nil {
		return false, err
	}
	if len(commands) == 0 { // a running container has at least its first process
		return false, errNoProcesses
	}
	return slices.ContainsFunc(commands, runner.IsWorker), nil
}

// containerList shares one listing among the alerts that are decided at the same time; the failure
// of one too, so that a queue of alerts does not wait for a hanging Docker once each.
type containerList struct {
	docker Lister
	seen   atomic.Pointer[sighting] // the last listing that worked

	mu    sync.Mutex // held while Docker is asked
	asked time.Time  // before the last question
	at    time.Time  // after it
	list  []runner.Container
	err   error
}

// sighting is what was seen, and when.
type sighting struct {
	list []runner.Container
	at   time.Time
}

func (l *containerList) recent(ctx context.Context) ([]runner.Container, error) {
	return l.since(ctx, time.Time{})
}

// since is a list that is recent, and not older than an alert: a list from before it can show the
// container as it was before.
func (l *containerList) since(ctx context.Context, received time.Time) ([]runner.Container, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil && l.asked.Before(received) {
		l.at = time.Time{}
	}
	return l.look(ctx)
}

// glance is for people: what Docker says now if it answers soon, else what was last seen. It never
// waits for another's question.
func (l *containerList) glance(ctx context.Context) sighting {
	if l.mu.TryLock() {
		ctx, cancel := context.WithTimeout(ctx, glanceTimeout)
		_, _ = l.look(ctx) // what it saw is remembered
		cancel()
		l.mu.Unlock()
	}
	if s := l.seen.Load(); s != nil {
		return *s
	}
	return sighting{}
}

// look asks Docker, if the last answer is not of this moment. Under mu.
func (l *containerList) look(ctx context.Context) ([]runner.Container, error) {
	if !l.at.IsZero() && time.Since(l.at) < listAge {
		return l.list, l.err
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	asked := time.Now()
	list, err := l.docker.Containers(call)
	if ctx.Err() != nil { // the caller gave up, which says nothing about Docker
		return nil, ctx.Err()
	}
	l.list, l.err, l.asked, l.at = list, err, asked, time.Now()
	if err == nil {
		l.seen.Store(&sighting{list, l.at})
	}
	return l.list, l.err
}

// forget makes the next call ask Docker.
func (l *containerList) forget() {
	l.mu.Lock()
	l.at = time.Time{}
	l.mu.Unlock()
}
