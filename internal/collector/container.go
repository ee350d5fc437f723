package collector

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// The state of the containers and how it came about. Docker's event stream keeps it in memory.
// Nothing is exported while the engine does not answer. The urgent part is the source "health".

var (
	containerInfo = prometheus.NewDesc("ghostrunner_container_info",
		"Which runner slot a container is; the label runner is empty for a service.", []string{"container", "role", "runner"}, nil)
	containerRunning = prometheus.NewDesc("ghostrunner_container_running",
		"Whether the container runs; a paused or restarting one does not.", []string{"container", "role"}, nil)
	containerStarts = prometheus.NewDesc("ghostrunner_container_starts_total",
		"Starts of the container that the exporter has seen.", []string{"container", "role"}, nil)
	containerOOMKills = prometheus.NewDesc("ghostrunner_container_oom_kills_total",
		"Processes of the container that the kernel killed for lack of memory, as the exporter has seen it.",
		[]string{"container", "role"}, nil)
	containerExitCode = prometheus.NewDesc("ghostrunner_container_last_exit_code",
		"Exit code of the container's last run; absent if no run has ended.", []string{"container", "role"}, nil)
)

// Docker returns the containers with a role, and whether the engine answers, without any I/O. The
// containers must not be modified; there are none while the engine does not answer.
type Docker interface {
	Observed() (containers []runner.Container, up bool)
}

type containerSource struct{ docker Docker }

// NewContainer returns the source "container".
func NewContainer(docker Docker) Source { return containerSource{docker} }

func (containerSource) Name() string { return NameContainer }

func (s containerSource) Collect(_ context.Context, ch chan<- prometheus.Metric) error {
	containers, _ := s.docker.Observed()
	for i := range containers {
		c := &containers[i]
		if c.Name == "" {
			continue // it is being removed; two of these would be one series twice
		}
		gauge(ch, containerInfo, 1, c.Name, c.Role, c.Runner)
		gauge(ch, containerRunning, boolean(c.State == runner.StateRunning), c.Name, c.Role)
		counter(ch, containerStarts, c.Starts, c.Name, c.Role)
		counter(ch, containerOOMKills, c.OOMKills, c.Name, c.Role)
		if c.Exited {
			gauge(ch, containerExitCode, float64(c.ExitCode), c.Name, c.Role)
		}
	}
	return nil
}
