package main

import (
	"context"
	"fmt"

	"github.com/shirou/gopsutil/v3/disk"

	"github.com/blueguy23/ghostrunner/internal/docker"
	"github.com/blueguy23/ghostrunner/internal/remedy"
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

var _ remedy.Docker = dockerAdapter{}

// diskUsage measures the file system of a path in bytes.
func diskUsage(path string) (free, size uint64, err error) {
	usage, err := disk.Usage(path)
	if err != nil {
		return 0, 0, fmt.Errorf("free space of %s: %w", path, err)
	}
	return usage.Free, usage.Total, nil
}
