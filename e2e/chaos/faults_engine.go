package main

import (
	"context"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// engineFaults strike the Docker engine itself. Its containers live on (`live-restore`).
func (w *world) engineFaults() []scenario.Fault {
	up := both(state(w.holds("ghostrunner_docker_up == 1")), runnersOnline())
	return []scenario.Fault{
		{
			Name: "engine restarted", Story: "the Docker engine is restarted; its containers run on",
			Break:  act(w.machine.Restart),
			Healed: up,
		}, {
			Name: "engine down", Story: "the Docker engine is stopped; its containers run on, unseen",
			Break:  act(w.machine.Stop),
			Metric: "ghostrunner_docker_up == 0", Alert: alert("GhostrunnerDockerDown"),
			Mend: act(w.machine.Start), Healed: up,
		}, {
			Name: "engine hangs", Story: "the Docker engine accepts connections and answers none",
			Break:  act(func(context.Context) error { return w.machine.Freeze() }),
			Metric: "ghostrunner_docker_up == 0", Alert: alert("GhostrunnerDockerDown"),
			Mend: act(func(context.Context) error { return w.machine.Thaw() }), Healed: up,
		},
	}
}
