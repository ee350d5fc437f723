package collector

import (
	"context"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// What containers are and how they came to be so, from the watcher of the Docker engine, which keeps it by events. A scrape
// reads memory. Nothing is exported while the engine does not answer. What is urgent about them is the source "health".

var (
	containerInfo = newDesc("ghostrunner_container_info",
		"Which runner slot a container is; the label runner is empty for a service.", "container", "role", "runner")
	containerRunning = newDesc("ghostrunner_container_running",
		"Whether the container runs; a paused or restarting one does not.", "container", "role")
	containerStarts = newDesc("ghostrunner_container_starts_total",
		"Starts of the container that the exporter has seen.", "container", "role")
	containerOOMKills = newDesc("ghostrunner_container_oom_kills_total",
		"Processes of the container that the kernel killed for want of memory, as the exporter has seen it.",
		"container", "role")
	containerExitCode = newDesc("ghostrunner_container_last_exit_code",
		"Exit code of the container's last run; absent if no run has ended.", "container", "role")
)

// ContainerSnapshot is what the engine shows. While it is not Up nothing is known of any container.
type ContainerSnapshot struct {
	Up         bool
	Containers []runner.Container // must not be changed any more
}

// Containers gives the latest snapshot without any I/O.
type Containers interface{ Containers() ContainerSnapshot }

type containerSource struct{ from Containers }

// NewContainer returns the source "container".
func NewContainer(from Containers) Source { return containerSource{from} }

func (containerSource) Name() string { return NameContainer }

func (s containerSource) Collect(_ context.Context, out *Samples) error {
	snapshot := s.from.Containers()
	if !snapshot.Up {
		return nil
	}
	for _, c := range snapshot.Containers {
		if c.Name == "" {
			continue // it is being removed; two of these would be one series twice
		}
		gauge(out, containerInfo, 1, c.Name, c.Role, c.Runner)
		gauge(out, containerRunning, boolean(c.State == runner.StateRunning), c.Name, c.Role)
		counter(out, containerStarts, c.Starts, c.Name, c.Role)
		counter(out, containerOOMKills, c.OOMKills, c.Name, c.Role)
		if c.Exited {
			gauge(out, containerExitCode, float64(c.ExitCode), c.Name, c.Role)
		}
	}
	return nil
}
