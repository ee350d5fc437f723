package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

type (
	step      = scenario.Step
	condition = scenario.Condition
)

// faults are all single faults.
func (w *world) faults() []scenario.Fault { return append(w.mainFaults(), w.lateFaults()...) }

func (w *world) mainFaults() []scenario.Fault {
	return w.withDefaults(w.runnerFaults(), w.containerFaults(), w.clockFaults(), w.jumpFaults(), w.networkFaults(),
		w.apiFaults(), w.diskFaults(), w.engineFaults(), w.pipelineFaults(), w.hostileFaults())
}

// lateFaults run last, because they affect others: after a 401 the poller waits for a while, and
// after the storm the next restart within the hour is a back-off.
func (w *world) lateFaults() []scenario.Fault {
	return w.withDefaults(w.credentialFaults(), w.stormFaults())
}

func (w *world) withDefaults(layers ...[]scenario.Fault) []scenario.Fault {
	all := slices.Concat(layers...)
	for i := range all {
		f := &all[i]
		f.Timeout = max(f.Timeout, 5*time.Minute)
		if f.Within == 0 && (f.Metric+f.Rises != "" || len(f.Alert) > 0) {
			f.Within = time.Minute
		}
		f.Settled = w.settled
	}
	return all
}

// settled holds when no active alert asks for an action or inhibits one, and the remediator is
// idle. Rules with a fixed window of minutes make this the longest part of most scenarios.
func (w *world) settled(ctx context.Context) (bool, error) {
	active, err := w.AlertsActive(ctx)
	if err != nil || slices.ContainsFunc(active, func(labels map[string]string) bool {
		return labels["remediation"] != "" || labels["severity"] == "critical" && labels["layer"] != "runner" && labels["layer"] != "pipeline"
	}) {
		return false, err
	}
	page, err := w.Page(ctx, w.Ports.Remediator)
	if err != nil {
		return false, err
	}
	queue, _, err := page.Sum("ghostrunner_remediator_queue_length", nil)
	unfinished, _, unfinishedErr := page.Sum("ghostrunner_remediator_unfinished_actions", nil)
	return queue == 0 && unfinished == 0, errors.Join(err, unfinishedErr)
}

// holds is the condition that a PromQL expression has a result.
func (w *world) holds(expr string) condition { return scenario.Holds(w.Stack, expr) }

// both holds when both conditions do.
func both(a, b condition) condition {
	return func(ctx context.Context) (bool, error) {
		if ok, err := a(ctx); !ok || err != nil {
			return ok, err
		}
		return b(ctx)
	}
}

// sequence runs one step after the other.
func sequence(steps ...step) step {
	return func(ctx context.Context) error {
		for _, do := range steps {
			if err := do(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// await is the step that waits for a condition.
func await(what string, c condition) step {
	return func(ctx context.Context) error { return stack.Await(ctx, what, c) }
}

// alert is the label set of an alert by name.
func alert(name string) map[string]string { return map[string]string{"alertname": name} }

func (w *world) runnersOnline() condition {
	return both(scenario.Online(w.Stack, one), scenario.Online(w.Stack, two))
}

// startedLongAgo waits until a slot's container has run for two minutes: the rules do not call it
// offline before that.
func (w *world) startedLongAgo(slot string) step {
	return func(ctx context.Context) error {
		return stack.Await(ctx, slot+" to have run for two minutes", func(ctx context.Context) (bool, error) {
			text, err := w.Docker(ctx, "inspect", "--format={{.State.StartedAt}}", w.Container(slot))
			if err != nil {
				return false, err
			}
			started, err := time.Parse(time.RFC3339Nano, text)
			return time.Since(started) > 2*time.Minute, err
		})
	}
}

// whenIdle runs the steps when a slot has no job, and queues no job meanwhile, so that the fault
// affects the runner only.
func (w *world) whenIdle(slot string, steps ...step) step {
	idle := await(slot+" to be idle", func(ctx context.Context) (bool, error) {
		state, err := w.Lab().State(ctx)
		for _, r := range state.Registrations {
			if r.Slot == slot && r.Status == "online" && !r.Busy && r.Session != nil && r.Session.Polling {
				return len(state.Queued) == 0, err
			}
		}
		return false, err
	})
	return func(ctx context.Context) error {
		w.jobs.Lock()
		defer w.jobs.Unlock()
		return sequence(append([]step{idle}, steps...)...)(ctx)
	}
}

// signal sends a signal to processes of a slot's container, without Docker.
func (w *world) signal(slot, process string, sig syscall.Signal) step {
	return func(ctx context.Context) error { return w.machine.Signal(ctx, w.Container(slot), process, sig) }
}

// docker runs one docker command.
func (w *world) docker(args ...string) step {
	return func(ctx context.Context) error { _, err := w.Docker(ctx, args...); return err }
}

// startJob queues a job for a slot and waits until it runs.
func (w *world) startJob(slot string, takes time.Duration) step {
	return func(ctx context.Context) error {
		if err := w.Job(ctx, "a release", slot, takes); err != nil {
			return err
		}
		return stack.Await(ctx, slot+" to run its job", func(ctx context.Context) (bool, error) {
			state, err := w.Lab().State(ctx)
			for _, j := range state.Running {
				if j.Slot == slot && j.Name == "a release" && !j.Acquired.IsZero() {
					return true, nil
				}
			}
			return false, err
		})
	}
}

// offline is a PromQL expression for a slot that GitHub shows offline.
func offline(slot string) string {
	return fmt.Sprintf("ghostrunner_runner_online{runner=%q} == 0", slot)
}
