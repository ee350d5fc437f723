package main

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"syscall"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/scenario"
	"github.com/blueguy23/ghostrunner/e2e/stack"
	"github.com/blueguy23/ghostrunner/internal/lab"
)

// runnerFaults strike one runner and its connection to GitHub.
func (w *world) runnerFaults() []scenario.Fault {
	// The hour's count of restarts fills by runner: the loops take turns.
	retrying := func(slot string) string { return fmt.Sprintf("ghostrunner_runner_retrying{runner=%q} == 1", slot) }
	v1, v1Off := w.switched("poll-outage-v1", "--runner", two)
	v2, v2Off := w.switched("poll-outage-v2", "--runner", one)
	create, createOff := w.switched("create-outage", "--runner", two)
	conflict, conflictOff := w.switched("session-conflict", "--runner", one)
	deleted, deletedOff := w.switched("registration-deleted", "--runner", one)

	var dropped time.Time
	seen, anew := w.replaced(one)
	counted, refused := w.refused("restart", "busy")
	deaf, hears := w.switched("deaf", "--runner", two)
	busy, busyOff := w.switched("retry-loop", "--runner", one, "--value=busy")
	return []scenario.Fault{
		scenario.RetryLoop(w.Stack),
		{
			Name:   "retry loop beside a job",
			Story:  one + "'s long poll dies while it works; a restart has to wait for the job",
			Break:  inTurn(counted, w.whenBusy(one, 25*time.Second), busy),
			Metric: retrying(one), Alert: alert("GhostrunnerRunnerRetryLoop"),
			// GitHub gives up a job that it does not hear of for ten minutes, which are twelve seconds here.
			Mend: inTurn(refused, busyOff), Healed: both(w.finished("a release"), scenario.Online(one)), Costs: 1,
		}, {
			Name:  "deaf listener",
			Story: two + "'s listener acknowledges a job and falls silent: no output, no poll, no end",
			// Deaf is who gets a job meanwhile; the next listener is not to be.
			Break:  w.alone(two, deaf, act(func(ctx context.Context) error { return w.Job(ctx, "unheard", two, jobTakes) }), w.whenHandedOut("unheard"), hears),
			Metric: offline(two), Alert: alert("GhostrunnerRunnerOffline"), Before: w.whenOld(two), Action: restart(two), Mend: hears, Healed: scenario.Online(two),
		},
		{
			Name:   "V1 poll outage",
			Story:  two + "'s message queue (the older protocol) fails; it retries, and GitHub shows it offline",
			Break:  v1,
			Metric: retrying(two), Alert: alert("GhostrunnerRunnerRetryLoop"),
			Action: restart(two), Mend: v1Off, Healed: scenario.Online(two),
		}, {
			Name:   "V2 poll outage",
			Story:  one + "'s broker fails; after ten errors in its life the listener gives up with exit code 2",
			Break:  v2,
			Metric: retrying(one), Alert: alert("GhostrunnerRunnerRetryLoop"),
			Action: restart(one), Mend: v2Off, Healed: scenario.Online(one),
		}, {
			Name:   "session outage",
			Story:  "no session can be created for " + two + ": a killed listener comes back into a retry loop",
			Break:  w.alone(two, create, w.kills(two, "Runner.Listener", syscall.SIGKILL)),
			Metric: retrying(two), Alert: alert("GhostrunnerRunnerRetryLoop"),
			Action: restart(two), Mend: createOff, Healed: scenario.Online(two),
		}, {
			Name:  "session conflict",
			Story: "GitHub believes that another session of " + one + " is alive",
			Break: w.alone(one, conflict, w.kills(one, "Runner.Listener", syscall.SIGKILL)),
			Rises: fmt.Sprintf("ghostrunner_runner_session_conflicts_total{runner=%q}", one), Alert: alert("GhostrunnerSessionConflict"),
			Also: []string{"restart " + one}, Mend: conflictOff, Healed: scenario.Online(one),
		}, {
			Name:  "long polls dropped",
			Story: "a NAT forgets every connection: the idle long polls of both runners wait for answers that cannot come",
			Break: act(func(context.Context) error {
				dropped = time.Now()
				w.github.cut(everyone)
				w.github.mend(everyone)
				return nil
			}),
			// A listener waits 100 s for an answer, so it is GitHub that is the first to know.
			Metric: offline(one), Also: []string{"restart " + one, "restart " + two}, Costs: 2,
			Healed: both(runnersOnline(), w.polling(&dropped)), Patience: 4 * time.Minute,
		}, {
			Name:   "worker killed",
			Story:  "the kernel kills the worker of a job on " + one,
			Break:  inTurn(w.whenBusy(one, 20*time.Second), w.kills(one, "Runner.Worker", syscall.SIGKILL)),
			Rises:  fmt.Sprintf(`ghostrunner_runner_jobs_completed_total{runner=%q,result="Failed"}`, one),
			Healed: scenario.Online(one), Costs: 1,
		}, {
			Name:   "listener killed",
			Story:  "the kernel kills the idle listener of " + one,
			Break:  w.alone(one, seen, w.kills(one, "Runner.Listener", syscall.SIGKILL)),
			Healed: both(anew, scenario.Online(one)),
		}, {
			Name:   "supervisor killed",
			Story:  "the kernel kills the supervisor of " + one + ", and everything in its container with it",
			Break:  w.alone(one, seen, w.kills(one, "", syscall.SIGKILL)),
			Rises:  exits(137, w.Container(one)),
			Healed: both(anew, scenario.Online(one)),
		}, {
			Name:   "registration deleted",
			Story:  "somebody deletes the registration of the idle " + one + " at GitHub",
			Break:  w.alone(one, seen, act(func(ctx context.Context) error { return w.deleteRegistration(ctx, one) })),
			Healed: both(anew, scenario.Online(one)),
		}, {
			Name:  "registration refused",
			Story: "GitHub says of " + one + "'s new registration that it has been deleted, as it does to a wrong clock",
			Break: w.alone(one, deleted, w.kills(one, "Runner.Listener", syscall.SIGKILL)),
			Rises: fmt.Sprintf(`ghostrunner_runner_failures_total{runner=%q,reason="registration_deleted"}`, one),
			Also:  []string{"restart " + one}, Mend: deletedOff, Healed: scenario.Online(one),
		},
	}
}

// polling holds when GitHub has heard from both runners since then.
func (w *world) polling(since *time.Time) condition {
	return state(func(ctx context.Context) (bool, error) {
		state, err := w.lab(ctx)
		slots := map[string]bool{}
		for _, r := range state.Registrations {
			if r.Session != nil && (r.Busy || r.Session.LastPoll.After(since.Add(5*time.Second))) {
				slots[r.Slot] = true
			}
		}
		return slots[one] && slots[two], err
	})
}

// replaced returns a step that remembers a slot's registration, and the condition that another one, and only one, has taken
// its place and listens. What an earlier fault has left behind is removed when it is five minutes old, and does not count.
func (w *world) replaced(slot string) (remember step, anew condition) {
	var youngest int64
	remember = act(func(ctx context.Context) error {
		r, _, err := w.registration(ctx, slot)
		youngest = r.ID
		return err
	})
	anew = state(func(ctx context.Context) (bool, error) {
		state, err := w.lab(ctx)
		var now []lab.RegistrationState
		for _, r := range state.Registrations {
			if r.Slot == slot && r.ID >= youngest {
				now = append(now, r)
			}
		}
		return len(now) == 1 && now[0].ID != youngest && now[0].Session != nil, err
	})
	return remember, anew
}

// registration is a slot's youngest at GitHub, and how many it has.
func (w *world) registration(ctx context.Context, slot string) (youngest lab.RegistrationState, n int, err error) {
	state, err := w.lab(ctx)
	for _, r := range state.Registrations {
		if r.Slot != slot {
			continue
		}
		n++
		if r.ID > youngest.ID {
			youngest = r
		}
	}
	return youngest, n, err
}

// deleteRegistration does what an administrator can do on GitHub's page.
func (w *world) deleteRegistration(ctx context.Context, slot string) error {
	r, _, err := w.registration(ctx, slot)
	if err != nil {
		return err
	}
	status, text, err := w.Do(ctx, http.MethodDelete, w.Ports.Lab, fmt.Sprintf("/repos/acme/widgets/actions/runners/%d", r.ID),
		http.Header{"Authorization": {"Bearer " + w.pat}}, nil)
	if err == nil && status != http.StatusNoContent {
		err = fmt.Errorf("delete registration %d: status %d: %.200s", r.ID, status, text)
	}
	return err
}

// stormFaults leave the hour's count of restarts full.
func (w *world) stormFaults() []scenario.Fault {
	storm := scenario.Storm(w.Stack)
	storm.Within = 4 * time.Minute
	return []scenario.Fault{storm, {
		Name:  "once more in the hour after",
		Story: one + " is on probation after six restarts in an hour, and falls into the retry loop once more",
		Break: func(ctx context.Context, s *stack.Stack) error {
			if err := w.onProbation(ctx, storm); err != nil {
				return err
			}
			begin := time.Now()
			if err := storm.Break(ctx, s); err != nil {
				return err
			}
			return w.until(ctx, begin, "backoff "+one)
		},
		Metric: fmt.Sprintf("ghostrunner_remediator_breaker_open{runner=%q} == 1", one),
		Action: storm.Action, Also: storm.Also, Mend: storm.Mend, Healed: scenario.Online(one), Within: 4 * time.Minute, Patience: 8 * time.Minute,
	}}
}

// onProbation plays the storm, unless that has been done.
func (w *world) onProbation(ctx context.Context, storm scenario.Fault) error {
	const served = `ghostrunner_remediator_breaker_open_until_timestamp_seconds{runner="` + one + `"} < time()`
	begin := time.Now()
	if _, ok, err := w.Query(ctx, served); ok || err != nil {
		return err
	}
	if err := storm.Break(ctx, w.Stack); err != nil {
		return err
	}
	if err := w.until(ctx, begin, "backoff "+one); err != nil {
		return err
	}
	if err := storm.Mend(ctx, w.Stack); err != nil {
		return err
	}
	if err := stack.Await(ctx, one+" to be on probation", w.holds(served)); err != nil {
		return err
	}
	online := scenario.Online(one)
	return stack.Await(ctx, one+" to be online", func(ctx context.Context) (bool, error) { return online(ctx, w.Stack) })
}

// until waits until an action has been completed since a moment.
func (w *world) until(ctx context.Context, since time.Time, what string) error {
	return stack.Await(ctx, what, func(ctx context.Context) (bool, error) {
		done, err := w.Done(ctx, since)
		return done[what] > 0, err
	})
}

// whenHandedOut waits until GitHub has given a job to a runner: what is to befall the two of them has been decided then. To wait for
// the runner to be offline would not do: a new registration is that too, until its listener polls.
func (w *world) whenHandedOut(name string) step {
	return act(func(ctx context.Context) error {
		return stack.Await(ctx, name+" to be handed out", func(ctx context.Context) (bool, error) {
			state, err := w.lab(ctx)
			return slices.ContainsFunc(state.Running, func(j lab.Job) bool { return j.Name == name }), err
		})
	})
}

// finished holds when no job of the name is left.
func (w *world) finished(name string) condition {
	is := func(j lab.Job) bool { return j.Name == name }
	return state(func(ctx context.Context) (bool, error) {
		state, err := w.lab(ctx)
		return !slices.ContainsFunc(state.Queued, is) && !slices.ContainsFunc(state.Running, is), err
	})
}

// refused returns a step that remembers how often an action was refused for a reason, and one that waits for the next time.
func (w *world) refused(action, reason string) (remember, again step) {
	var before float64
	count := func(ctx context.Context) (float64, error) {
		n, _, err := w.Metric(ctx, w.Ports.Remediator, "ghostrunner_remediator_actions_refused_total", map[string]string{"action": action, "reason": reason})
		return n, err
	}
	remember = act(func(ctx context.Context) (err error) { before, err = count(ctx); return err })
	again = act(func(ctx context.Context) error {
		return stack.Await(ctx, "the "+action+" to be refused", func(ctx context.Context) (bool, error) {
			n, err := count(ctx)
			return n > before, err
		})
	})
	return remember, again
}
