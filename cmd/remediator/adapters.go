package main

import (
	"context"

	"github.com/blueguy23/ghostrunner/internal/docker"
	"github.com/blueguy23/ghostrunner/internal/remedy"
	"github.com/blueguy23/ghostrunner/internal/remedy/prune"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// dockerAdapter is the engine in the remediator's words.
type dockerAdapter struct {
	*docker.Engine

	github *githubView // nil: GitHub is not asked
}

// Containers implements remedy.Lister.
func (a dockerAdapter) Containers(ctx context.Context) ([]runner.Container, error) {
	list, err := a.Engine.Containers(ctx)
	if err != nil {
		return nil, err
	}
	a.github.note(list)
	for i := range list {
		list[i].Scope = a.github.scopeOf(list[i])
	}
	return list, nil
}

// Images implements prune.Docker.
func (a dockerAdapter) Images(ctx context.Context, label string) ([]prune.Image, error) {
	list, err := a.Engine.Images(ctx, label)
	if err != nil {
		return nil, err
	}
	out := make([]prune.Image, len(list))
	for i, m := range list {
		out[i] = prune.Image{ID: m.ID, Tags: m.Tags, Size: m.Size, Created: m.Created, Used: m.Named, Dangling: m.Dangling, InUse: m.InUse}
	}
	return out, nil
}

// Leftovers implements prune.Docker.
func (a dockerAdapter) Leftovers(ctx context.Context, label string) ([]prune.Leftover, error) {
	list, err := a.Engine.Leftovers(ctx, label)
	if err != nil {
		return nil, err
	}
	out := make([]prune.Leftover, len(list))
	for i, l := range list {
		out[i] = prune.Leftover(l)
	}
	return out, nil
}

var _ remedy.Docker = dockerAdapter{}
