package docker

import (
	"errors"
	"fmt"

	cerrdefs "github.com/containerd/errdefs"
)

// What an action can refuse with, for errors.Is.
var (
	// ErrNoContainer means that the engine has no container with this id (any more).
	ErrNoContainer = errors.New("no such container")
	// ErrNotOurs means that the container exists but lacks one of Options.Labels, or that it is of
	// a kind on which the action is never done.
	ErrNotOurs = errors.New("container is not ours")
	// ErrNotRunning means that the action needs a running container.
	ErrNotRunning = errors.New("container is not running")
	// ErrConflict means that the state of the object forbids the action, e.g. removing a running
	// container.
	ErrConflict = errors.New("conflicting state")
	// ErrInUse means that a container of the engine, ours or not, uses the image.
	ErrInUse = errors.New("image is in use")
)

// wrap names the operation and turns the engine's answer into one of the errors above; the engine's
// own words stay in the text. The engine reports a missing container as 404 and a wrong state as
// 409. A 304 (already stopped, already started) is no error.
func wrap(op, id string, err error) error {
	switch {
	case err == nil:
		return nil
	case cerrdefs.IsNotFound(err):
		return fmt.Errorf("%s %s: %w: %w", op, short(id), ErrNoContainer, err)
	case cerrdefs.IsConflict(err):
		return fmt.Errorf("%s %s: %w: %w", op, short(id), ErrConflict, err)
	default:
		return fmt.Errorf("%s %s: %w", op, short(id), err)
	}
}

// short cuts an id to the length that docker ps shows.
func short(id string) string {
	const width = 12
	if len(id) > width {
		return id[:width]
	}
	return id
}
