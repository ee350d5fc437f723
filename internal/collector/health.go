package collector

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// What a restart is ordered for within a second: whether the engine answers, and the health of each
// container. It is apart from the source "container" so that a scrape every second carries little:
// what a rule costs Prometheus is mostly the number of samples that it reads. Docker's event stream
// keeps it in memory, so a change is visible well under a second later.

var (
	dockerUp = prometheus.NewDesc("ghostrunner_docker_up",
		"Whether the Docker engine answers.", nil, nil)
	containerHealthy = prometheus.NewDesc("ghostrunner_container_healthy",
		"Docker's verdict on the running container; absent without a health check or while it is still starting.",
		[]string{"container", "role"}, nil)
)

type healthSource struct{ docker Docker }

// NewHealth returns the source "health".
func NewHealth(docker Docker) Source { return healthSource{docker} }

func (healthSource) Name() string { return NameHealth }

func (s healthSource) Collect(_ context.Context, ch chan<- prometheus.Metric) error {
	containers, up := s.docker.Observed()
	gauge(ch, dockerUp, boolean(up))
	for i := range containers {
		c := &containers[i]
		if c.Name == "" {
			continue // it is being removed; two of these would be one series twice
		}
		if c.State == runner.StateRunning && (c.Health == runner.HealthHealthy || c.Health == runner.HealthUnhealthy) {
			gauge(ch, containerHealthy, boolean(c.Health == runner.HealthHealthy), c.Name, c.Role)
		}
	}
	return nil
}
