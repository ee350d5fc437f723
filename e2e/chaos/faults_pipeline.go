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

// parts are the programs between a fault and the action.
var parts = []string{"exporter-proxy", "exporter", "prometheus", "alertmanager", "remediator", "remediator-proxy"}

// pipelineFaults kill each part alone, and during a restart.
func (w *world) pipelineFaults() []scenario.Fault {
	unhealthy := scenario.Unhealthy(w.Stack)
	working := both(w.pipelineWorks, w.runnersOnline())
	var injected time.Time
	var list []scenario.Fault
	for _, part := range parts {
		remember, restarted := w.restarted(part)
		list = append(list, scenario.Fault{
			Name: part + " killed", Description: "the kernel kills the " + part,
			Inject: sequence(remember, w.kill(part)),
			Healed: both(restarted, working),
		})
	}
	for _, part := range parts {
		list = append(list, scenario.Fault{
			Name: part + " killed while a runner is healed", Description: "the kernel kills the " + part + " as soon as the restart of a frozen " + two + " begins",
			Inject: func(ctx context.Context) error {
				events, err := w.Events(ctx)
				if err != nil {
					return err
				}
				if err := unhealthy.Inject(ctx); err != nil {
					return err
				}
				if _, err := stack.AwaitEvent(ctx, events, w.Container(two), "kill"); err != nil {
					return err
				}
				return w.kill(part)(ctx)
			},
			Action: "restart " + two,
			Healed: working, Timeout: 4 * time.Minute,
		})
	}
	return append(list, scenario.Fault{
		Name: "pipeline silent", Description: "Prometheus is stopped, and then " + two + " freezes: no alert can fire",
		Inject: sequence(w.docker("stop", "--time=5", w.service("prometheus")), await("the remediator not to be ready", w.notReady), unhealthy.Inject),
		Action: "restart " + two, Remove: w.docker("start", w.service("prometheus")),
		Healed: working,
	}, scenario.Fault{
		Name: "two Alertmanagers", Description: "Prometheus sends the alert of a frozen " + two + " to two Alertmanagers that are not a cluster",
		Inject: func(ctx context.Context) error {
			injected = time.Now()
			return errors.Join(w.startSecondAlertmanager(ctx), unhealthy.Inject(ctx))
		},
		Metric: unhealthy.Metric, Alert: unhealthy.Alert, Action: "restart " + two,
		Remove: w.removeSecondAlertmanager,
		Healed: both(w.runnersOnline(), w.restartedOnce(two, &injected)),
	})
}

// kill kills a part without Docker, whose restart policy starts it again.
func (w *world) kill(service string) step {
	return func(ctx context.Context) error { return w.machine.Signal(ctx, w.service(service), "", syscall.SIGKILL) }
}

// restarted returns a step that remembers a part's start, and the condition that it has been
// started again and is healthy.
func (w *world) restarted(service string) (remember step, restarted condition) {
	start := func(ctx context.Context) (string, error) {
		return w.Docker(ctx, "inspect", "--format={{.State.StartedAt}} {{if .State.Running}}{{with .State.Health}}{{.Status}}{{else}}healthy{{end}}{{end}}", w.service(service))
	}
	var before string
	remember = func(ctx context.Context) (err error) { before, err = start(ctx); return err }
	restarted = func(ctx context.Context) (bool, error) {
		now, err := start(ctx)
		return now != before && strings.HasSuffix(now, " healthy"), err
	}
	return remember, restarted
}

// notReady holds when the remediator reports that it is not ready, because heartbeats are missing.
func (w *world) notReady(ctx context.Context) (bool, error) {
	status, _, err := w.Get(ctx, w.Ports.Remediator, "/-/ready")
	return status == http.StatusServiceUnavailable, err
}

// pipelineWorks holds when every target is up and Alertmanager has the heartbeat.
func (w *world) pipelineWorks(ctx context.Context) (bool, error) {
	down, ok, err := w.Query(ctx, `count(up == 0) or vector(0)`)
	if !ok || down != 0 || err != nil {
		return false, err
	}
	return w.AlertActive(ctx, alert("GhostrunnerWatchdog"))
}

// startSecondAlertmanager starts one with the same configuration, and adds it to Prometheus.
func (w *world) startSecondAlertmanager(ctx context.Context) error {
	first := w.service("alertmanager")
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
	return w.setAlertmanagers("alertmanager:9093, alertmanager-2:9093")
}

func (w *world) removeSecondAlertmanager(ctx context.Context) error {
	_, err := w.Docker(ctx, "rm", "--force", w.Container("second-alertmanager"))
	return errors.Join(err, w.setAlertmanagers("alertmanager:9093"))
}

// setAlertmanagers writes the targets file from which Prometheus discovers Alertmanagers.
func (w *world) setAlertmanagers(addresses string) error {
	file := filepath.Join(".cache", w.project, "targets", "alertmanager.yml")
	return os.WriteFile(file, fmt.Appendf(nil, "- targets: [%s]\n  labels: { host: local }\n", addresses), 0o600)
}

// restartedOnce holds when the journal has exactly one restart of the slot since then, with any
// outcome.
func (w *world) restartedOnce(slot string, since *time.Time) condition {
	return func(ctx context.Context) (bool, error) {
		begun, err := w.Begun(ctx, *since)
		n := begun["restart "+slot]
		if n > 1 {
			err = fmt.Errorf("%s was restarted %d times", slot, n)
		}
		return n == 1, err
	}
}
