package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// engineFaults strike the Docker engine itself. Its containers live on (`live-restore`).
func (w *world) engineFaults() []scenario.Fault {
	up := both(state(w.holds("ghostrunner_docker_up == 1")), runnersOnline())
	// Containers ask the engine for names: without it nobody hears of a job. GitHub gives it up after ten minutes, which are twelve
	// seconds here.
	const lost = 2
	return []scenario.Fault{
		{
			Name: "engine restarted", Story: "the Docker engine is restarted; its containers run on",
			Break:  inTurn(act(w.machine.Restart), act(w.checkAgain)),
			Healed: up,
		}, {
			// Published ports go with the engine: what was noticed meanwhile is asked of Prometheus afterwards.
			Name: "engine down", Story: "the Docker engine is stopped for half a minute; its containers run on, unseen",
			Break: inTurn(act(w.machine.Stop), act(func(ctx context.Context) error {
				return watch(ctx, 30*time.Second, func(context.Context) error { return nil })
			}), act(w.machine.Start), act(w.checkAgain)),
			Metric: `max_over_time(ALERTS{alertname="GhostrunnerDockerDown",alertstate="firing"}[2m]) == 1`,
			Healed: up, Within: 2 * time.Minute, Costs: lost,
		}, {
			Name: "engine hangs", Story: "the Docker engine accepts connections and answers none",
			Break:  act(func(context.Context) error { return w.machine.Freeze() }),
			Metric: "ghostrunner_docker_up == 0", Alert: alert("GhostrunnerDockerDown"),
			Mend: act(func(context.Context) error { return w.machine.Thaw() }), Healed: up, Costs: lost,
		},
	}
}

// checkAgain has Docker check the health of the stack's containers. From 17.11 until 23.0 an engine that is started forgets that of
// containers that have run on meanwhile (moby/moby#41871), and whatever becomes unhealthy after that is called healthy for ever.
// What is paused and goes on is checked again.
func (w *world) checkAgain(ctx context.Context) error {
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
