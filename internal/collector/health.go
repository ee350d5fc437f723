package collector

import (
	"context"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// What a restart is ordered for within a second: whether the engine answers, and its verdict on each container. It is apart
// from the source "container" so that a scrape every second carries this and nothing else: what Prometheus pays for a rule
// is, above all, the samples that it must look through. From the watcher of the Docker engine, which keeps it by events: a
// change is visible well under a second later, and a scrape reads memory.

var (
	dockerUp = newDesc("ghostrunner_docker_up",
		"Whether the Docker engine answers.")
	containerHealthy = newDesc("ghostrunner_container_healthy",
		"Docker's verdict on the running container; absent without a health check or while it is still starting.",
		"container", "role")
)

type healthSource struct{ from Containers }

// NewHealth returns the source "health".
func NewHealth(from Containers) Source { return healthSource{from} }

func (healthSource) Name() string { return NameHealth }

func (s healthSource) Collect(_ context.Context, out *Samples) error {
	snapshot := s.from.Containers()
	gauge(out, dockerUp, boolean(snapshot.Up))
	if !snapshot.Up {
		return nil
	}
	for _, c := range snapshot.Containers {
		if c.Name == "" {
			continue // it is being removed; two of these would be one series twice
		}
		if c.State == runner.StateRunning && (c.Health == runner.HealthHealthy || c.Health == runner.HealthUnhealthy) {
			gauge(out, containerHealthy, boolean(c.Health == runner.HealthHealthy), c.Name, c.Role)
		}
	}
	return nil
}
