package collector

import (
	"context"
)

// Container state comes from the watcher of the Docker engine, which keeps it by events: a change is visible well under
// a second later. A scrape reads memory. While the engine does not answer only ghostrunner_docker_up is exported.

var (
	dockerUp = newDesc("ghostrunner_docker_up",
		"Whether the Docker engine answers.")
	containerInfo = newDesc("ghostrunner_container_info",
		"Which runner slot a container is; the label runner is empty for a service.", "container", "role", "runner")
	containerRunning = newDesc("ghostrunner_container_running",
		"Whether the container runs; a paused or restarting one does not.", "container", "role")
	containerHealthy = newDesc("ghostrunner_container_healthy",
		"Docker's verdict on the running container; absent without a health check or while it is still starting.",
		"container", "role")
	containerStarts = newDesc("ghostrunner_container_starts_total",
		"Starts of the container that the exporter has seen.", "container", "role")
	containerOOMKills = newDesc("ghostrunner_container_oom_kills_total",
		"Processes of the container that the kernel killed for want of memory, as the exporter has seen it.",
		"container", "role")
	containerExitCode = newDesc("ghostrunner_container_last_exit_code",
		"Exit code of the container's last run; absent if no run has ended.", "container", "role")
)

// Container is one container that carries a ghostrunner role.
type Container struct {
	Name, Role       string
	Runner           string // slot; empty for a service
	Scope            string // where the slot registers; empty: the default scope
	State            string // Docker's word, such as "running"
	Health           string // "", "starting", "healthy" or "unhealthy"
	Exited           bool   // a run has ended, so that ExitCode says something
	ExitCode         int
	Starts, OOMKills uint64
}

// ContainerSnapshot is what the engine shows. While it is not Up nothing is known of any container.
type ContainerSnapshot struct {
	Up         bool
	Containers []Container // must not be changed any more
}

// Containers gives the latest snapshot without any I/O.
type Containers interface{ Containers() ContainerSnapshot }

type containerSource struct{ from Containers }

// NewContainer returns the source "container".
func NewContainer(from Containers) Source { return containerSource{from} }

func (containerSource) Name() string { return NameContainer }

func (s containerSource) Collect(_ context.Context, out *Samples) error {
	snapshot := s.from.Containers()
	gauge(out, dockerUp, boolean(snapshot.Up))
	if !snapshot.Up {
		return nil
	}
	for _, c := range snapshot.Containers {
		if c.Name == "" {
			continue // it is being removed; two of these would be one series twice
		}
		gauge(out, containerInfo, 1, c.Name, c.Role, c.Runner)
		running := c.State == "running"
		gauge(out, containerRunning, boolean(running), c.Name, c.Role)
		if running && (c.Health == "healthy" || c.Health == "unhealthy") {
			gauge(out, containerHealthy, boolean(c.Health == "healthy"), c.Name, c.Role)
		}
		counter(out, containerStarts, c.Starts, c.Name, c.Role)
		counter(out, containerOOMKills, c.OOMKills, c.Name, c.Role)
		if c.Exited {
			gauge(out, containerExitCode, float64(c.ExitCode), c.Name, c.Role)
		}
	}
	return nil
}
