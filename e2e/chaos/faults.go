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

// faults is everything that is tried alone, by where it strikes.
func (w *world) faults() []scenario.Fault { return append(w.early(), w.late()...) }

func (w *world) early() []scenario.Fault {
	return w.promised(w.runnerFaults(), w.containerFaults(), w.clockFaults(), w.jumpFaults(), w.networkFaults(), w.apiFaults(), w.diskFaults(),
		w.engineFaults(), w.pipelineFaults(), w.hostileFaults())
}

// late leave marks that others would trip over: after a 401 the poller keeps still for a while, and the storm fills the hour's
// count of restarts: until the hour is over, the next one is a back-off.
func (w *world) late() []scenario.Fault { return w.promised(w.credentialFaults(), w.stormFaults()) }

// promised completes faults by what holds for all.
func (w *world) promised(layers ...[]scenario.Fault) []scenario.Fault {
	all := slices.Concat(layers...)
	for i := range all {
		all[i].Patience = max(all[i].Patience, 5*time.Minute)
		if all[i].Within == 0 && (all[i].Metric+all[i].Rises != "" || len(all[i].Alert) > 0) {
			all[i].Within = time.Minute
		}
		all[i].Settled = w.calm()
	}
	return all
}

// calm holds when no alert is active that asks for an action or holds one back, and the remediator has nothing left to do.
// Rules look back over minutes, which the haste of the demo does not shorten: this is most of what a round takes.
func (w *world) calm() condition {
	return state(func(ctx context.Context) (bool, error) {
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
	})
}

// act is a step of a fault that needs no stack: the world has it.
func act(f func(context.Context) error) func(context.Context, *stack.Stack) error {
	return func(ctx context.Context, _ *stack.Stack) error { return f(ctx) }
}

// state is a condition likewise.
func state(f func(context.Context) (bool, error)) condition {
	return func(ctx context.Context, _ *stack.Stack) (bool, error) { return f(ctx) }
}

// switched is a fault of the simulated world that Break switches on and Mend off.
func (w *world) switched(name string, more ...string) (on, off func(context.Context, *stack.Stack) error) {
	on = act(func(ctx context.Context) error { return w.Fault(ctx, name, "on", more...) })
	off = act(func(ctx context.Context) error { return w.Fault(ctx, name, "off") })
	return on, off
}

// both are healed when each is.
func both(a, b condition) condition {
	return func(ctx context.Context, s *stack.Stack) (bool, error) {
		if ok, err := a(ctx, s); !ok || err != nil {
			return ok, err
		}
		return b(ctx, s)
	}
}

// alert is the label set of an alert by name.
func alert(name string) map[string]string { return map[string]string{"alertname": name} }

func restart(target string) map[string]string {
	return map[string]string{"action": "restart", "target": target}
}

// runnersOnline holds when both slots are well.
func runnersOnline() condition {
	return both(scenario.Online(one), scenario.Online(two))
}

// whenOld waits until the last start of a slot's container is two minutes ago. Until then nobody calls it offline, and its listener
// may notice first.
func (w *world) whenOld(slot string) step {
	return act(func(ctx context.Context) error {
		return stack.Await(ctx, slot+" to have run for two minutes",
			w.holds(fmt.Sprintf("absent(changes(ghostrunner_container_starts_total{container=%q}[2m]) > 0)", w.Container(slot))))
	})
}

// step is one part of a Break or Mend.
type step = func(context.Context, *stack.Stack) error

// condition is what is waited for.
type condition = func(context.Context, *stack.Stack) (bool, error)

// inTurn does one step after the other.
func inTurn(steps ...step) step {
	return func(ctx context.Context, s *stack.Stack) error {
		for _, do := range steps {
			if err := do(ctx, s); err != nil {
				return err
			}
		}
		return nil
	}
}

// alone strikes a slot that has no job, and gives none to anybody meanwhile: what is struck then is the runner, and no job.
func (w *world) alone(slot string, strike ...step) step {
	idle := act(func(ctx context.Context) error {
		return stack.Await(ctx, slot+" to be idle", func(ctx context.Context) (bool, error) {
			state, err := w.lab(ctx)
			for _, r := range state.Registrations {
				if r.Slot == slot && r.Status == "online" && !r.Busy && r.Session != nil && r.Session.Polling {
					return len(state.Queued) == 0, err
				}
			}
			return false, err
		})
	})
	return func(ctx context.Context, s *stack.Stack) error {
		w.jobs.Lock()
		defer w.jobs.Unlock()
		return inTurn(append([]step{idle}, strike...)...)(ctx, s)
	}
}

// kills sends a signal to processes of a slot's container, past Docker.
func (w *world) kills(slot, process string, sig syscall.Signal) step {
	return act(func(ctx context.Context) error { return w.machine.Signal(ctx, w.Container(slot), process, sig) })
}

// docker runs one command of Docker's.
func (w *world) docker(args ...string) step {
	return act(func(ctx context.Context) error { _, err := w.Docker(ctx, args...); return err })
}

// whenBusy gives a slot a job and waits until it runs.
func (w *world) whenBusy(slot string, takes time.Duration) step {
	return act(func(ctx context.Context) error {
		if err := w.Job(ctx, "a release", slot, takes); err != nil {
			return err
		}
		return stack.Await(ctx, slot+" to work", func(ctx context.Context) (bool, error) {
			state, err := w.lab(ctx)
			for _, j := range state.Running {
				if j.Slot == slot && j.Name == "a release" && !j.Acquired.IsZero() {
					return true, nil
				}
			}
			return false, err
		})
	})
}

// offline is a PromQL expression for a slot that GitHub does not see.
func offline(slot string) string {
	return fmt.Sprintf("ghostrunner_runner_online{runner=%q} == 0", slot)
}
