package main

import (
	"context"
	"fmt"
	"syscall"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
)

// containerFaults affect a container, with or without Docker.
func (w *world) containerFaults() []scenario.Fault {
	mongo := w.Container("ci-mongo")
	remember, replaced := w.replaced(two)
	hang, hangOff := scenario.Switch(w.Stack, "service-hang", "", "")
	healthy := fmt.Sprintf("ghostrunner_container_healthy{container=%q} == 1", mongo)
	return []scenario.Fault{
		scenario.Unhealthy(w.Stack),
		{
			Name:        "runner exits with 0",
			Description: two + "'s supervisor gets SIGTERM, drains, and exits with 0",
			Inject:      w.whenIdle(two, remember, w.signal(two, "", syscall.SIGTERM)),
			Rises:       exits(0, w.Container(two)), Healed: both(replaced, scenario.Online(w.Stack, two)),
		}, {
			Name:        "out of memory",
			Description: "a service of this project exceeds its memory limit, and the kernel kills it",
			Inject:      w.startHungryService,
			// The kernel kills it after every start, so no restart is expected: the limit is wrong.
			Rises:  `ghostrunner_container_oom_kills_total{container="` + w.Container("hungry") + `"}`,
			Remove: w.RemoveVictims,
			Healed: w.holds(`absent(ghostrunner_container_running{container="` + w.Container("hungry") + `"})`),
		}, {
			Name:        "runner paused",
			Description: "a person pauses the container of " + two,
			Inject:      w.whenIdle(two, w.docker("pause", w.Container(two))),
			Metric:      fmt.Sprintf("ghostrunner_container_running{container=%q} == 0", w.Container(two)),
			Remove:      w.docker("unpause", w.Container(two)),
			Healed:      scenario.Online(w.Stack, two), MaxJobsLost: 1,
		}, {
			Name:        "database killed",
			Description: "the kernel kills the database",
			Inject:      w.signal("ci-mongo", "", syscall.SIGKILL),
			Rises:       exits(137, mongo), Healed: w.holds(healthy),
		}, {
			Name: "database hangs", Description: "the database answers no client, and does not exit",
			Inject: hang,
			Metric: fmt.Sprintf("ghostrunner_container_healthy{container=%q} == 0", mongo), Alert: alert("GhostrunnerServiceUnhealthy"),
			Action: "restart " + mongo, OrderEvent: "kill", Container: mongo, Remove: hangOff, Healed: w.holds(healthy),
		},
	}
}

// exits rises when a container restarts after it exited with this code.
func exits(code int, container string) string {
	return fmt.Sprintf("ghostrunner_container_starts_total{container=%q} and ghostrunner_container_last_exit_code == %d", container, code)
}

// startHungryService starts a service with less memory than it uses.
func (w *world) startHungryService(ctx context.Context) error {
	image, err := w.VictimImage(ctx)
	if err != nil {
		return err
	}
	_, err = w.StartVictim(ctx, image, "hungry", "--memory=16m", "--memory-swap=16m", "--restart=unless-stopped", "--env=VICTIM_EATS=64")
	return err
}
