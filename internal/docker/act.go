package docker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// stopSlack is what a stop or restart may need beyond its stop timeout: the engine kills, waits for
// the exit, tears down the network and starts again.
const stopSlack = 30 * time.Second

// own returns the container with this id, as the engine lists it now. Every action asks for it
// first: the container can be gone, or not be ours.
func (e *Engine) own(ctx context.Context, op, id string) (runner.Container, error) {
	if !isID(id) {
		return runner.Container{}, fmt.Errorf("%s: %q is not a container id: %w", op, id, ErrNoContainer)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	// Not filtered by label, to tell a foreign container from a missing one.
	sums, err := e.api(ctx).ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("id", id))})
	if err != nil {
		return runner.Container{}, fmt.Errorf("%s %s: list: %w", op, short(id), err)
	}
	i := slices.IndexFunc(sums, func(s container.Summary) bool { return s.ID == id })
	switch {
	case i < 0:
		return runner.Container{}, fmt.Errorf("%s %s: %w", op, short(id), ErrNoContainer)
	case !e.selector.matches(sums[i].Labels):
		return runner.Container{}, fmt.Errorf("%s %s: %w: it lacks the label that confines us", op, short(id), ErrNotOurs)
	}
	return fromSummary(&sums[i], time.Now()).Container, nil
}

// isID reports whether id is a full container id. The meaning of a name or prefix can change.
func isID(id string) bool {
	const width = 64
	return len(id) == width && strings.Trim(id, "0123456789abcdef") == ""
}

// Stop sends the container's stop signal and after timeout SIGKILL, and waits for the end. Stopping
// a stopped container is no error. The restart policy does not start a stopped container again: the
// caller records when to start it (moby daemon/stop.go sets HasBeenManuallyStopped).
//
// The engine goes on even if ctx ends: an error then means that the outcome is unknown. The timeout
// is rounded up to whole seconds and must be positive.
func (e *Engine) Stop(ctx context.Context, id string, timeout time.Duration) error {
	seconds, err := wholeSeconds(timeout)
	if err != nil {
		return fmt.Errorf("stop %s: %w", short(id), err)
	}
	if _, err := e.own(ctx, "stop", id); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout+stopSlack)
	defer cancel()
	return wrap("stop", id, e.api(ctx).ContainerStop(ctx, id, container.StopOptions{Timeout: &seconds}))
}

// Restart stops the container as Stop does and starts it again; a stopped container is only
// started. A negative timeout is the container's own (StopTimeout, else ten seconds); then only ctx
// bounds the call.
func (e *Engine) Restart(ctx context.Context, id string, timeout time.Duration) error {
	var options container.StopOptions
	if timeout >= 0 {
		seconds, err := wholeSeconds(timeout)
		if err != nil {
			return fmt.Errorf("restart %s: %w", short(id), err)
		}
		options.Timeout = &seconds
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout+stopSlack)
		defer cancel()
	}
	if _, err := e.own(ctx, "restart", id); err != nil {
		return err
	}
	return wrap("restart", id, e.api(ctx).ContainerRestart(ctx, id, options))
}

// Start starts the container. Starting a running container is no error.
func (e *Engine) Start(ctx context.Context, id string) error {
	if _, err := e.own(ctx, "start", id); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, stopSlack)
	defer cancel()
	return wrap("start", id, e.api(ctx).ContainerStart(ctx, id, container.StartOptions{}))
}

// Terminate sends SIGTERM and does not wait: the container drains in its own time and is never
// killed. Where SIGTERM is also its stop signal (the default), the engine takes this for a manual
// stop, and the restart policy will not bring the container back: the caller starts it again (moby
// daemon/kill.go).
func (e *Engine) Terminate(ctx context.Context, id string) error {
	c, err := e.own(ctx, "terminate", id)
	if err != nil {
		return err
	}
	if c.State != runner.StateRunning {
		return fmt.Errorf("terminate %s: %w: it is %s", short(id), ErrNotRunning, c.State)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return notRunning(wrap("terminate", id, e.api(ctx).ContainerKill(ctx, id, "SIGTERM")))
}

// Processes returns the command line of every process in the container. The engine runs ps on its
// own host for this; without ps it is an error, and the processes are unknown.
func (e *Engine) Processes(ctx context.Context, id string) ([]string, error) {
	c, err := e.own(ctx, "top", id)
	if err != nil {
		return nil, err
	}
	if !c.Running() {
		return nil, fmt.Errorf("top %s: %w: it is %s", short(id), ErrNotRunning, c.State)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	// The engine needs the column pid. args comes last because it can contain spaces.
	top, err := e.api(ctx).ContainerTop(ctx, id, []string{"-eo", "pid,args"})
	if err != nil {
		return nil, notRunning(wrap("top", id, err))
	}
	var out []string
	for _, row := range top.Processes {
		if len(row) > 0 {
			out = append(out, row[len(row)-1])
		}
	}
	return out, nil
}

// Leftover is a container that has ended or never started, and that is not a runner or service.
type Leftover struct {
	ID, Name string
	Created  time.Time
	// Size is what its own layer holds, in bytes: what a removal would free.
	Size int64
}

// Leftovers lists exited, created and dead containers that carry the label (KEY=VALUE) and
// Options.Labels, but no ghostrunner.role: runners and services are never leftovers, however long
// they are down.
func (e *Engine) Leftovers(ctx context.Context, label string) ([]Leftover, error) {
	l, err := parseLabel(label) // an empty label would make leftovers of every stopped container on the machine
	if err != nil {
		return nil, fmt.Errorf("leftovers: %w", err)
	}
	want := append(slices.Clone(e.selector), l)
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	sums, err := e.api(ctx).ContainerList(ctx, container.ListOptions{All: true, Size: true, Filters: want.filters(
		filters.Arg("status", runner.StateExited), filters.Arg("status", runner.StateCreated), filters.Arg("status", runner.StateDead))})
	if err != nil {
		return nil, fmt.Errorf("leftovers: %w", err)
	}
	var out []Leftover
	for i := range sums {
		c := fromSummary(&sums[i], time.Now())
		if want.matches(c.Labels) && c.Role == "" && c.Down() {
			out = append(out, Leftover{ID: c.ID, Name: c.Name, Created: c.Created, Size: sums[i].SizeRw})
		}
	}
	slices.SortFunc(out, func(a, b Leftover) int { return cmp.Or(a.Created.Compare(b.Created), strings.Compare(a.ID, b.ID)) })
	return out, nil
}

// RemoveContainer removes a container that has ended. It never forces and never removes volumes,
// and it refuses a container with a ghostrunner.role.
func (e *Engine) RemoveContainer(ctx context.Context, id string) error {
	c, err := e.own(ctx, "remove", id)
	switch {
	case err != nil:
		return err
	case c.Role != "":
		return fmt.Errorf("remove %s: %w: a container with role %s is never removed", short(id), ErrNotOurs, c.Role)
	case !c.Down():
		return fmt.Errorf("remove %s: %w: it is %s", short(id), ErrConflict, c.State)
	}
	ctx, cancel := context.WithTimeout(ctx, workTimeout)
	defer cancel()
	return wrap("remove", id, e.api(ctx).ContainerRemove(ctx, id, container.RemoveOptions{Force: false, RemoveVolumes: false}))
}

// notRunning adds ErrNotRunning to a conflict that can have no other reason.
func notRunning(err error) error {
	if errors.Is(err, ErrConflict) {
		return fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	return err
}

// wholeSeconds rounds up. Zero would mean "kill at once" and less than zero "wait for ever" to the
// engine.
func wholeSeconds(d time.Duration) (int, error) {
	if d <= 0 {
		return 0, fmt.Errorf("stop timeout %s: must be positive", d)
	}
	return int((d + time.Second - 1) / time.Second), nil
}
