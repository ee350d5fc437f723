package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// engineFaults affect the Docker engine itself. Its containers keep running (`live-restore`).
func (w *world) engineFaults() []scenario.Fault {
	up := both(w.holds("ghostrunner_docker_up == 1"), w.runnersOnline())
	// Containers use the engine's DNS: without it a runner cannot renew its job, which GitHub
	// abandons after ten minutes, which are twelve seconds here.
	const lost = 2
	wait := func(ctx context.Context) error {
		return checkFor(ctx, 30*time.Second, func(context.Context) error { return nil })
	}
	return []scenario.Fault{
		{
			Name: "engine restarted", Description: "the Docker engine is restarted; its containers keep running",
			Inject: sequence(w.machine.Restart, w.resumeHealthChecks),
			Healed: up, MaxJobsLost: lost,
		}, {
			// Published ports end with the engine, so Prometheus is queried afterwards.
			Name: "engine down", Description: "the Docker engine is stopped for half a minute; its containers keep running",
			Inject: sequence(w.machine.Stop, wait, w.machine.Start, w.resumeHealthChecks),
			Metric: `max_over_time(ALERTS{alertname="GhostrunnerDockerDown",alertstate="firing"}[2m]) == 1`,
			Healed: up, Within: 2 * time.Minute, MaxJobsLost: lost,
		}, {
			Name: "engine hangs", Description: "the Docker engine accepts connections but does not answer",
			Inject: func(context.Context) error { return w.machine.Freeze() },
			Metric: "ghostrunner_docker_up == 0", Alert: alert("GhostrunnerDockerDown"),
			Remove: func(context.Context) error { return w.machine.Thaw() }, Healed: up, MaxJobsLost: lost,
		},
	}
}

// resumeHealthChecks makes Docker check the health of the stack's containers again. From 17.11
// until 23.0 a started engine does not check containers that kept running (moby/moby#41871). A
// pause and unpause starts the checks.
func (w *world) resumeHealthChecks(ctx context.Context) error {
	out, err := w.Docker(ctx, "ps", "--quiet", "--filter=label=com.docker.compose.project="+w.project, "--filter=health=healthy")
	for id := range strings.FieldsSeq(out) {
		for _, do := range []string{"pause", "unpause"} {
			if _, doErr := w.Docker(ctx, do, id); doErr != nil {
				err = errors.Join(err, doErr)
			}
		}
	}
	return err
}
