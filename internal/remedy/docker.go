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

// Docker is the engine as this package needs it.
type Docker interface {
	// Containers lists the containers that exist for this program.
	Containers(ctx context.Context) ([]runner.Container, error)
	// Processes returns the command lines of a running container.
	Processes(ctx context.Context, id string) ([]string, error)
	// Terminate sends SIGTERM and returns at once.
	Terminate(ctx context.Context, id string) error
	// Stop and Restart kill after timeout; a negative timeout is the container's own.
	Stop(ctx context.Context, id string, timeout time.Duration) error
	Restart(ctx context.Context, id string, timeout time.Duration) error
	Start(ctx context.Context, id string) error
	// FollowImages calls used with the id of each image that a container is made from, now and
	// whenever one is made or removed, until ctx ends or the engine breaks off.
	FollowImages(ctx context.Context, used func(id string)) error
	prune.Docker
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

const (
	// callTimeout bounds a call that only reads from Docker.
	callTimeout = 10 * time.Second
	// listAge is how old a container list may be when a target is resolved, unless the alert is
	// younger. Actions look again for themselves.
	listAge = time.Second
	// glanceTimeout is how long a page waits for Docker.
	glanceTimeout = 500 * time.Millisecond
)

var errGone = errors.New("the container no longer exists")

// working reports whether a worker process, and so a job, is in a container. One without processes
// has none.
func working(ctx context.Context, d Docker, c runner.Container) (bool, error) {
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
		return false, errors.New("docker lists no process at all")
	}
	return slices.ContainsFunc(commands, runner.IsWorker), nil
}

// containerList shares one listing among the alerts that are decided at the same time; the failure
// of one too, so that a queue of alerts does not wait for a hanging Docker once each.
type containerList struct {
	docker Docker
	mu     sync.Mutex // held while Docker is asked
	stale  bool
	last   atomic.Pointer[listing]
}

// listing is an answer of Docker. After an error the list is that of the last one without.
type listing struct {
	list      []runner.Container
	err       error
	asked, at time.Time // before and after the last question
}

func (l *containerList) answer() listing {
	if a := l.last.Load(); a != nil {
		return *a
	}
	return listing{}
}

func (l *containerList) recent(ctx context.Context) ([]runner.Container, error) {
	return l.since(ctx, time.Time{})
}

// since is a list that is recent, and not older than an alert: a list from before it can show the
// container as it was before.
func (l *containerList) since(ctx context.Context, received time.Time) ([]runner.Container, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.look(ctx, received)
}

// glance is for people: what Docker says now if it answers soon, else what was last seen. It never
// waits for another's question.
func (l *containerList) glance(ctx context.Context) []runner.Container {
	if l.mu.TryLock() {
		defer l.mu.Unlock()
		ctx, cancel := context.WithTimeout(ctx, glanceTimeout)
		defer cancel()
		_, _ = l.look(ctx, time.Time{}) // what it saw is remembered
	}
	return l.answer().list
}

// look asks Docker, if the last answer is not of this moment. Under mu.
func (l *containerList) look(ctx context.Context, received time.Time) ([]runner.Container, error) {
	a := l.answer()
	if l.stale || time.Since(a.at) >= listAge || a.err == nil && a.asked.Before(received) {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		asked := time.Now()
		list, err := l.docker.Containers(call)
		if ctx.Err() != nil { // the caller gave up, which says nothing about Docker
			return nil, ctx.Err()
		}
		a.err, a.asked, a.at = err, asked, time.Now()
		if err == nil {
			a.list = list
		}
		l.stale = false
		l.last.Store(&a)
	}
	if a.err != nil {
		return nil, a.err
	}
	return a.list, nil
}

func (l *containerList) forget() {
	l.mu.Lock()
	l.stale = true
	l.mu.Unlock()
}
