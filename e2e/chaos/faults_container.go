package main

import (
	"context"
	"fmt"
	"syscall"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// containerFaults strike a container past or through Docker.
func (w *world) containerFaults() []scenario.Fault {
	mongo := w.Container("ci-mongo")
	seen, anew := w.replaced(two)
	hang, hangOff := w.switched("service-hang")
	healthy := fmt.Sprintf("ghostrunner_container_healthy{container=%q} == 1", mongo)
	return []scenario.Fault{
		scenario.Unhealthy(w.Stack),
		{
			Name:  "runner exits with 0",
			Story: two + "'s supervisor is told to end, drains, and exits with 0 as after a good day's work",
			Break: w.alone(two, seen, w.kills(two, "", syscall.SIGTERM)),
			Rises: exits(0, w.Container(two)), Healed: both(anew, scenario.Online(two)),
		}, {
			Name:  "out of memory",
			Story: "a service of this project takes more memory than it may have, and the kernel kills it",
			Break: act(func(ctx context.Context) error { return w.eatMemory(ctx) }),
			// The kernel kills it again with every start: whether it is worth that is for a person to say.
			Rises:  `ghostrunner_container_oom_kills_total{container="` + w.Container("hungry") + `"}`,
			Mend:   act(w.RemoveVictims),
			Healed: state(w.holds(`absent(ghostrunner_container_running{container="` + w.Container("hungry") + `"})`)),
		}, {
			Name:   "runner paused",
			Story:  "somebody pauses the container of " + two,
			Break:  w.alone(two, w.docker("pause", w.Container(two))),
			Metric: fmt.Sprintf("ghostrunner_container_running{container=%q} == 0", w.Container(two)),
			Mend:   w.docker("unpause", w.Container(two)),
			Healed: scenario.Online(two), Costs: 1,
		}, {
			Name:  "database killed",
			Story: "the kernel kills the database",
			Break: act(func(ctx context.Context) error { return w.machine.Signal(ctx, mongo, "", syscall.SIGKILL) }),
			Rises: exits(137, mongo), Healed: state(w.holds(healthy)),
		}, {
			Name: "database hangs", Story: "the database answers nobody any more, and does not end",
			Break:  hang,
			Metric: fmt.Sprintf("ghostrunner_container_healthy{container=%q} == 0", mongo), Alert: alert("GhostrunnerServiceUnhealthy"),
			Action: restart(mongo), Order: "kill", Container: mongo, Mend: hangOff, Healed: state(w.holds(healthy)),
		},
	}
}

// exits rises when a container starts anew after it ended with this code.
func exits(code int, container string) string {
	return fmt.Sprintf("ghostrunner_container_starts_total{container=%q} and ghostrunner_container_last_exit_code == %d", container, code)
}

// eatMemory starts a service of this project, one that may be restarted, with less memory than it takes.
func (w *world) eatMemory(ctx context.Context) error {
	image, err := w.VictimImage(ctx)
	if err != nil {
		return err
	}
	_, err = w.StartVictim(ctx, image, "hungry", "--memory=16m", "--memory-swap=16m", "--restart=unless-stopped", "--env=VICTIM_EATS=64")
	return err
}
