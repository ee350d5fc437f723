// Package prune makes room on the disk of a Docker engine.
//
// It removes what can be made again, in this order: the build cache, dangling images, stopped
// containers that carry the prune label and no role, then unused images older than the least age,
// the least recently used first. It ends as soon as the target is free by what the file system
// says. An image that a container uses, running or not, or that one of our containers is made from
// by name, or that the keep list names, is never removed, nor is anything by force; volumes and
// networks are never touched. With a label only what carries it is removed and the build cache,
// which has no labels, is left alone; without one no container is removed, because nothing says
// which are ours.
//
// A job that begins meanwhile ends a prune before the next object, because an image that the job
// has just pulled and not yet run looks unused. Below the floor it goes on while a job runs, but
// spares everything that was used within the last hour. Nothing is undone: images are pulled or
// built again when they are needed.
package prune

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

const (
	buildCache = "build_cache"
	images     = "images"
	containers = "containers"
)

// Kinds lists the kinds of objects.
var Kinds = []string{buildCache, images, containers}

const (
	// busyAge is the least time since anything was last used that is removed although a job runs.
	busyAge = time.Hour
	// shownTimeout is how long a file system may take to show what was removed: ext4 does when its
	// journal commits, every five seconds.
	shownTimeout = 6 * time.Second
	// callTimeout bounds a question to Docker.
	callTimeout = 10 * time.Second
)

// Docker removes what can be made again.
type Docker interface {
	Images(ctx context.Context, label string) ([]runner.Image, error)
	RemoveImage(ctx context.Context, id string) error
	// BuildCache returns the bytes in the build cache that were not used for that long,
	// PruneBuildCache removes them.
	BuildCache(ctx context.Context, unused time.Duration) (uint64, error)
	PruneBuildCache(ctx context.Context, unused time.Duration) (uint64, error)
	Leftovers(ctx context.Context, label string) ([]runner.Leftover, error)
	RemoveContainer(ctx context.Context, id string) error
	Root(ctx context.Context) (string, error)
}

// Pruner removes objects of one engine.
type Pruner struct {
	Docker  Docker
	Measure Measure        // of the disk
	Path    string         // where it is measured; empty: Docker's root
	Label   string         // KEY=VALUE of the objects to remove; empty: every unused image
	MinAge  time.Duration  // least time since an unused image that has a name was last used
	Keep    *regexp.Regexp // names and ids of images that are never removed; nil: none

	PollInterval time.Duration // between two measurements of a disk that is to change
}

// Task is one prune.
type Task struct {
	Space   Space
	Ours    []string                         // the images that our containers are made from
	LastUse func(id string) time.Time        // of an image; zero if unknown
	Busy    func(ctx context.Context) string // why a job may be running, "" if none is
	DryRun  bool                             // only list: the sizes are what Docker says

	// Note and Removed are called with what happens.
	Note    func(format string, args ...any)
	Removed func(kind string, bytes uint64)
}

// The errors of a prune that could not free enough.
var (
	ErrBusy      = errors.New("a job runs")
	ErrNotEnough = errors.New("everything that may be removed is gone")
)

// Measured returns the space with what is measured of it.
func (p *Pruner) Measured(ctx context.Context, s Space) (Space, error) {
	path := p.Path
	if path == "" {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		root, err := p.Docker.Root(ctx)
		if err != nil {
			return s, fmt.Errorf("docker's root is not known: %w; set --disk.path", err)
		}
		path = root
	}
	var err error
	if s.Free, s.Size, err = p.Measure(path); err != nil {
		return s, fmt.Errorf("%w; set --disk.path to a folder that this program sees on the disk of Docker", err)
	}
	return s, nil
}

type run struct {
	*Pruner
	Task

	busy     string // why a job may be running
	expected uint64 // what should be free by what Docker said that it removed
	freed    uint64 // by what Docker said
	err      error  // what could not be listed or removed, and matters
}

// Run removes step by step until the target is free. A single object that cannot be removed does
// not end it.
func (p *Pruner) Run(ctx context.Context, task Task) error {
	r := &run{Pruner: p, Task: task}
	if err := r.measure(ctx); err != nil {
		return err
	}
	before := r.Space.Free
	r.expected = before
	if r.removeAll(ctx); r.DryRun {
		return r.err
	}
	r.waitShown(ctx, before+r.freed)
	r.Note("%d bytes were free, %d are wanted; Docker counts %d removed, the file system shows %d free",
		before, r.Space.Target, r.freed, r.Space.Free)
	switch {
	case r.err != nil:
		return r.err
	case !r.Space.Short():
		return nil
	case r.busy != "":
		return fmt.Errorf("%w: %s", ErrBusy, r.Space)
	default:
		return fmt.Errorf("%w: %s", ErrNotEnough, r.Space)
	}
}

func (r *run) measure(ctx context.Context) (err error) {
	r.Space, err = r.Measured(ctx, r.Space)
	return err
}

func (r *run) removeAll(ctx context.Context) {
	for _, list := range r.lists() {
		if r.enough(ctx) {
			return
		}
		objects, err := list(ctx)
		if err != nil {
			r.Note("%v", err)
			r.err = errors.Join(r.err, err)
		}
		for i, o := range objects {
			if i > 0 && r.enough(ctx) {
				return
			}
			if r.mayGo(o) { // else a job has begun since the list was made
				r.remove(ctx, o)
			}
		}
	}
}

func (r *run) remove(ctx context.Context, o object) {
	n, verb := o.size, "would remove"
	if !r.DryRun {
		var err error
		if n, err = o.remove(ctx); err != nil { // it came into use meanwhile, or has children
			r.Note("%s %s stays: %v", o.kind, o.name, err)
			if o.kind == buildCache {
				r.err = errors.Join(r.err, err)
			}
			return
		}
		r.expected += n
		verb = "removed"
	}
	r.freed += n
	r.Removed(o.kind, n)
	r.Note("%s %s %s, %d bytes", verb, o.kind, o.name, n)
}

// enough reports whether pruning is to end: the target is free, or that is unknown, or a job runs
// and the disk is not almost full.
func (r *run) enough(ctx context.Context) bool {
	was := r.busy
	r.busy = r.Busy(ctx)
	goal := r.Space.goal(r.busy != "")
	err := r.measure(ctx)
	if r.DryRun {
		r.Space.Free += r.freed
	}
	if err == nil && r.Space.Free < goal && r.expected >= goal { // perhaps it is there, and not yet shown
		r.waitShown(ctx, goal)
		r.expected = r.Space.Free // what is not shown by now is in layers that others share
	}
	switch {
	case ctx.Err() != nil, err != nil, r.Space.Free >= goal:
		return true
	case r.busy == "":
		return false
	case r.Space.AlmostFull():
		if was == "" && !r.DryRun {
			r.Note("goes on with what was not used for %s: %s", busyAge, r.busy)
		}
		return false
	case was != "": // it began below the floor, and ends a little above it
		return false
	}
	r.Note("ends here: %s", r.busy)
	return true
}

// waitShown waits a while until the file system shows that much free space.
func (r *run) waitShown(ctx context.Context, want uint64) {
	wait, cancel := context.WithTimeout(ctx, shownTimeout)
	defer cancel()
	for r.measure(ctx) == nil && r.Space.Free < want {
		select {
		case <-time.After(r.PollInterval):
		case <-wait.Done():
			return
		}
	}
}
