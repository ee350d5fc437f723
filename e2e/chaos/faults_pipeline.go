package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// parts are the programs between a fault and its cure.
var parts = []string{"exporter-proxy", "exporter", "prometheus", "alertmanager", "remediator", "remediator-proxy"}

// pipelineFaults kill each part alone, and each in the middle of healing a runner.
func (w *world) pipelineFaults() []scenario.Fault {
	unhealthy := scenario.Unhealthy(w.Stack)
	var told time.Time
	var list []scenario.Fault
	for _, part := range parts {
		remember, reborn := w.reborn(part)
		list = append(list, scenario.Fault{
			Name: part + " killed", Story: "the kernel kills the " + part,
			Break:  inTurn(remember, act(func(ctx context.Context) error { return w.kill(ctx, part) })),
			Healed: both(reborn, both(w.wholeAgain(), runnersOnline())),
		})
	}
	for _, part := range parts {
		list = append(list, scenario.Fault{
			Name: part + " killed while a runner is healed", Story: "the kernel kills the " + part + " as soon as a frozen " + two + " is ordered to restart",
			Break: act(func(ctx context.Context) error {
				events, err := w.Events(ctx)
				if err != nil {
					return err
				}
				if err := unhealthy.Break(ctx, w.Stack); err != nil {
					return err
				}
				if _, err := stack.AwaitEvent(ctx, events, w.Container(two), "kill"); err != nil {
					return err
				}
				return w.kill(ctx, part)
			}),
			Action: restart(two),
			Healed: both(w.wholeAgain(), runnersOnline()), Patience: 4 * time.Minute,
		})
	}
	return append(list, scenario.Fault{
		Name: "pipeline silent", Story: "Prometheus is gone for good, and then " + two + " freezes: nobody asks for anything any more",
		Break:  inTurn(w.docker("stop", "--time=5", w.service("prometheus")), w.notReady, unhealthy.Break),
		Action: restart(two), Mend: w.docker("start", w.service("prometheus")),
		Healed: both(w.wholeAgain(), runnersOnline()),
	}, scenario.Fault{
		Name: "two Alertmanagers", Story: "Prometheus tells two Alertmanagers, which do not know each other, of a frozen " + two,
		Break: act(func(ctx context.Context) error {
			told = time.Now()
			return errors.Join(w.secondAlertmanager(ctx), unhealthy.Break(ctx, w.Stack))
		}),
		Metric: unhealthy.Metric, Alert: unhealthy.Alert, Action: restart(two),
		Mend:   act(w.firstAlertmanager),
		Healed: both(runnersOnline(), w.restartedOnce(two, &told)),
	})
}

// kill ends a part past Docker; its restart policy brings it back.
func (w *world) kill(ctx context.Context, service string) error {
	name, err := w.ServiceContainer(ctx, service)
	if err != nil {
		return err
	}
	return w.machine.Signal(ctx, name, "", syscall.SIGKILL)
}

// reborn returns a step that remembers which process a part is, and the condition that another one runs, and is well.
func (w *world) reborn(service string) (remember step, reborn condition) {
	life := func(ctx context.Context) (string, error) {
		return w.Docker(ctx, "inspect", "--format={{.State.StartedAt}} {{if .State.Running}}{{with .State.Health}}{{.Status}}{{else}}healthy{{end}}{{end}}", w.service(service))
	}
	var before string
	remember = act(func(ctx context.Context) (err error) { before, err = life(ctx); return err })
	reborn = state(func(ctx context.Context) (bool, error) {
		now, err := life(ctx)
		return now != before && strings.HasSuffix(now, " healthy"), err
	})
	return remember, reborn
}

// notReady waits until the remediator says that it is not: it misses the heartbeat, or cannot write its journal.
func (w *world) notReady(ctx context.Context, _ *stack.Stack) error {
	return stack.Await(ctx, "the remediator not to be ready", func(ctx context.Context) (bool, error) {
		status, _, err := w.Get(ctx, w.Ports.Remediator, "/-/ready")
		return status == http.StatusServiceUnavailable, err
	})
}

// wholeAgain holds when every part has been scraped and every target is up.
func (w *world) wholeAgain() condition {
	return state(func(ctx context.Context) (bool, error) {
		down, ok, err := w.Query(ctx, `count(up == 0) or vector(0)`)
		if !ok || down != 0 || err != nil {
			return false, err
		}
		return w.AlertActive(ctx, alert("GhostrunnerWatchdog"))
	})
}

// secondAlertmanager starts one with the same configuration, and tells Prometheus of both.
func (w *world) secondAlertmanager(ctx context.Context) error {
	first, err := w.ServiceContainer(ctx, "alertmanager")
	if err != nil {
		return err
	}
	image, err := w.Docker(ctx, "inspect", "--format={{.Config.Image}}", first)
	if err != nil {
		return err
	}
	network, err := w.Docker(ctx, "inspect", "--format={{range $name, $_ := .NetworkSettings.Networks}}{{$name}} {{end}}", first)
	if err != nil {
		return err
	}
	if _, err := w.Docker(ctx, "run", "--detach", "--name="+w.Container("second-alertmanager"), "--network="+strings.Fields(network)[0],
		"--network-alias=alertmanager-2", "--volumes-from="+first+":ro", "--tmpfs=/tmp/am:mode=1777", image,
		"--config.file=/etc/alertmanager/alertmanager.yml", "--storage.path=/tmp/am", "--cluster.listen-address="); err != nil {
		return err
	}
	return w.targets("alertmanager:9093, alertmanager-2:9093")
}

func (w *world) firstAlertmanager(ctx context.Context) error {
	_, err := w.Docker(ctx, "rm", "--force", w.Container("second-alertmanager"))
	return errors.Join(err, w.targets("alertmanager:9093"))
}

// targets rewrites the file from which Prometheus learns of Alertmanagers.
func (w *world) targets(addresses string) error {
	file := filepath.Join(".cache", w.project, "targets", "alertmanager.yml")
	return os.WriteFile(file, fmt.Appendf(nil, "- targets: [%s]\n  labels: { host: local }\n", addresses), 0o600)
}

// restartedOnce holds when the journal has one restart of the slot since then, and no second one, whatever came of it.
func (w *world) restartedOnce(slot string, since *time.Time) condition {
	return state(func(ctx context.Context) (bool, error) {
		begun, err := w.Begun(ctx, *since)
		n := begun["restart "+slot]
		if n > 1 {
			err = fmt.Errorf("%s was restarted %d times", slot, n)
		}
		return n == 1, err
	})
}
