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

// runnerFaults affect one runner and its connection to GitHub. The retry loops alternate between
// the slots, because restarts are counted for each runner and hour.
func (w *world) runnerFaults() []scenario.Fault {
	return slices.Concat([]scenario.Fault{scenario.RetryLoop(w.Stack), w.retryLoopWithJob(), w.deafListener()},
		w.outageFaults(), w.killFaults(), w.registrationFaults())
}

func retrying(slot string) string {
	return fmt.Sprintf("ghostrunner_runner_retrying{runner=%q} == 1", slot)
}

func (w *world) retryLoopWithJob() scenario.Fault {
	rememberRefusals, refused := w.refused("restart", "busy")
	on, off := scenario.Switch(w.Stack, "retry-loop", one, "busy")
	return scenario.Fault{
		Name:        "retry loop beside a job",
		Description: one + "'s long poll dies while it runs a job; a restart must wait for the job",
		Inject:      sequence(rememberRefusals, w.startJob(one, 25*time.Second), on),
		Metric:      retrying(one), Alert: alert("GhostrunnerRunnerRetryLoop"),
		// GitHub abandons a job that sends nothing for ten minutes, which are twelve seconds here.
		Remove: sequence(refused, off), Healed: both(w.finished("a release"), scenario.Online(w.Stack, one)), MaxJobsLost: 1,
	}
}

func (w *world) deafListener() scenario.Fault {
	on, off := scenario.Switch(w.Stack, "deaf", two, "")
	queue := func(ctx context.Context) error { return w.Job(ctx, "unheard", two, jobDuration) }
	return scenario.Fault{
		Name:        "deaf listener",
		Description: two + "'s listener acknowledges a job and does nothing: no output, no poll, no exit",
		// The next listener must not be deaf.
		Inject: w.whenIdle(two, on, queue, w.handedOut("unheard"), off),
		Metric: offline(two), Alert: alert("GhostrunnerRunnerOffline"), Ready: w.startedLongAgo(two), Action: "restart " + two,
		Remove: off, Healed: scenario.Online(w.Stack, two),
	}
}

// outageFaults are outages of GitHub's services for one runner, and lost connections.
func (w *world) outageFaults() []scenario.Fault {
	v1, v1Off := scenario.Switch(w.Stack, "poll-outage-v1", two, "")
	v2, v2Off := scenario.Switch(w.Stack, "poll-outage-v2", one, "")
	create, createOff := scenario.Switch(w.Stack, "create-outage", two, "")
	conflict, conflictOff := scenario.Switch(w.Stack, "session-conflict", one, "")
	var dropped time.Time
	return []scenario.Fault{
		{
			Name:        "V1 poll outage",
			Description: two + "'s message queue (the older protocol) fails; it retries, and GitHub shows it offline",
			Inject:      v1,
			Metric:      retrying(two), Alert: alert("GhostrunnerRunnerRetryLoop"),
			Action: "restart " + two, Remove: v1Off, Healed: scenario.Online(w.Stack, two),
		}, {
			Name:        "V2 poll outage",
			Description: one + "'s broker fails; after ten errors in its life the listener exits with code 2",
			Inject:      v2,
			Metric:      retrying(one), Alert: alert("GhostrunnerRunnerRetryLoop"),
			Action: "restart " + one, Remove: v2Off, Healed: scenario.Online(w.Stack, one),
		}, {
			Name:        "session outage",
			Description: "no session can be created for " + two + ": after a kill its next listener enters the retry loop",
			Inject:      w.whenIdle(two, create, w.signal(two, "Runner.Listener", syscall.SIGKILL)),
			Metric:      retrying(two), Alert: alert("GhostrunnerRunnerRetryLoop"),
			Action: "restart " + two, Remove: createOff, Healed: scenario.Online(w.Stack, two),
		}, {
			Name:        "session conflict",
			Description: "GitHub reports another session of " + one,
			Inject:      w.whenIdle(one, conflict, w.signal(one, "Runner.Listener", syscall.SIGKILL)),
			Rises:       fmt.Sprintf("ghostrunner_runner_session_conflicts_total{runner=%q}", one), Alert: alert("GhostrunnerSessionConflict"),
			// A restart fails as long as the conflict lasts, and the next action is a back-off.
			Allowed: []string{"restart " + one, "backoff " + one}, Remove: conflictOff, Healed: scenario.Online(w.Stack, one),
		}, {
			Name:        "long polls dropped",
			Description: "a NAT drops all connections: the idle long polls of both runners get no answer and no error",
			Inject: func(context.Context) error {
				dropped = time.Now()
				w.github.cut(allAddresses)
				w.github.restore(allAddresses)
				return nil
			},
			// A listener waits 100 s for an answer, so GitHub detects this first.
			Metric: offline(one), Allowed: []string{"restart " + one, "restart " + two}, MaxJobsLost: 2,
			Healed: both(w.runnersOnline(), w.polling(&dropped)), Timeout: 4 * time.Minute,
		},
	}
}

// killFaults kill processes of a runner.
func (w *world) killFaults() []scenario.Fault {
	remember, replaced := w.replaced(one)
	return []scenario.Fault{
		{
			Name:        "worker killed",
			Description: "the kernel kills the worker of a job on " + one,
			Inject:      sequence(w.startJob(one, 20*time.Second), w.signal(one, "Runner.Worker", syscall.SIGKILL)),
			Rises:       fmt.Sprintf(`ghostrunner_runner_jobs_completed_total{runner=%q,result="Failed"}`, one),
			Healed:      scenario.Online(w.Stack, one), MaxJobsLost: 1,
		}, {
			Name:        "listener killed",
			Description: "the kernel kills the idle listener of " + one,
			Inject:      w.whenIdle(one, remember, w.signal(one, "Runner.Listener", syscall.SIGKILL)),
			Healed:      both(replaced, scenario.Online(w.Stack, one)),
		}, {
			Name:        "supervisor killed",
			Description: "the kernel kills the supervisor of " + one + ", and everything in its container with it",
			Inject:      w.whenIdle(one, remember, w.signal(one, "", syscall.SIGKILL)),
			Rises:       exits(137, w.Container(one)),
			Healed:      both(replaced, scenario.Online(w.Stack, one)),
		},
	}
}

func (w *world) registrationFaults() []scenario.Fault {
	remember, replaced := w.replaced(one)
	deleted, deletedOff := scenario.Switch(w.Stack, "registration-deleted", one, "")
	return []scenario.Fault{
		{
			Name:        "registration deleted",
			Description: "an administrator deletes the registration of the idle " + one + " at GitHub",
			Inject:      w.whenIdle(one, remember, func(ctx context.Context) error { return w.deleteRegistration(ctx, one) }),
			Healed:      both(replaced, scenario.Online(w.Stack, one)),
		}, {
			Name:        "registration refused",
			Description: "GitHub reports that " + one + "'s new registration was deleted, as it does when the clock is wrong",
			Inject:      w.whenIdle(one, deleted, w.signal(one, "Runner.Listener", syscall.SIGKILL)),
			Rises:       fmt.Sprintf(`ghostrunner_runner_failures_total{runner=%q,reason="registration_deleted"}`, one),
			Allowed:     []string{"restart " + one}, Remove: deletedOff, Healed: scenario.Online(w.Stack, one),
		},
	}
}

// polling holds when both runners have polled GitHub since then.
func (w *world) polling(since *time.Time) condition {
	return func(ctx context.Context) (bool, error) {
		state, err := w.Lab().State(ctx)
		slots := map[string]bool{}
		for _, r := range state.Registrations {
			if r.Session != nil && (r.Busy || r.Session.LastPoll.After(since.Add(5*time.Second))) {
				slots[r.Slot] = true
			}
		}
		return slots[one] && slots[two], err
	}
}

// replaced returns a step that remembers a slot's registration, and the condition that exactly one
// other has replaced it and listens. Older ones of earlier faults do not count.
func (w *world) replaced(slot string) (remember step, replaced condition) {
	var youngest int64
	remember = func(ctx context.Context) error {
		r, err := w.registration(ctx, slot)
		youngest = r.ID
		return err
	}
	replaced = func(ctx context.Context) (bool, error) {
		state, err := w.Lab().State(ctx)
		var now []lab.RegistrationState
		for _, r := range state.Registrations {
			if r.Slot == slot && r.ID >= youngest {
				now = append(now, r)
			}
		}
		return len(now) == 1 && now[0].ID != youngest && now[0].Session != nil, err
	}
	return remember, replaced
}

// registration is a slot's youngest registration at GitHub.
func (w *world) registration(ctx context.Context, slot string) (youngest lab.RegistrationState, err error) {
	state, err := w.Lab().State(ctx)
	for _, r := range state.Registrations {
		if r.Slot == slot && r.ID > youngest.ID {
			youngest = r
		}
	}
	return youngest, err
}

func (w *world) deleteRegistration(ctx context.Context, slot string) error {
	r, err := w.registration(ctx, slot)
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

// stormFaults use up the restarts of an hour.
func (w *world) stormFaults() []scenario.Fault {
	storm := scenario.Storm(w.Stack)
	storm.Within = 4 * time.Minute
	return []scenario.Fault{storm, {
		Name:        "once more in the hour after",
		Description: one + " is on probation after six restarts in an hour, and enters the retry loop once more",
		Inject: func(ctx context.Context) error {
			if err := w.onProbation(ctx, storm); err != nil {
				return err
			}
			begin := time.Now()
			if err := storm.Inject(ctx); err != nil {
				return err
			}
			return w.awaitDone(ctx, begin, "backoff "+one)
		},
		Metric: fmt.Sprintf("ghostrunner_remediator_breaker_open{runner=%q} == 1", one),
		Action: storm.Action, Allowed: storm.Allowed, Remove: storm.Remove, Healed: scenario.Online(w.Stack, one),
		Within: 4 * time.Minute, Timeout: 8 * time.Minute,
	}}
}

// onProbation runs the storm unless it has been run, and waits for the end of the back-off.
func (w *world) onProbation(ctx context.Context, storm scenario.Fault) error {
	const served = `ghostrunner_remediator_breaker_open_until_timestamp_seconds{runner="` + one + `"} < time()`
	begin := time.Now()
	if _, ok, err := w.Query(ctx, served); ok || err != nil {
		return err
	}
	if err := storm.Inject(ctx); err != nil {
		return err
	}
	if err := w.awaitDone(ctx, begin, "backoff "+one); err != nil {
		return err
	}
	return sequence(storm.Remove, await(one+" to be on probation", w.holds(served)),
		await(one+" to be online", scenario.Online(w.Stack, one)))(ctx)
}

// awaitDone waits until an action has been completed since then.
func (w *world) awaitDone(ctx context.Context, since time.Time, action string) error {
	return stack.Await(ctx, action, func(ctx context.Context) (bool, error) {
		done, err := w.Done(ctx, since)
		return done[action] > 0, err
	})
}

// handedOut waits until GitHub has handed out a job, because its faults are fixed then. Whether the
// runner is online would not tell: a new registration is offline until its listener polls.
func (w *world) handedOut(name string) step {
	return await(name+" to be handed out", func(ctx context.Context) (bool, error) {
		state, err := w.Lab().State(ctx)
		return slices.ContainsFunc(state.Running, func(j lab.Job) bool { return j.Name == name }), err
	})
}

// finished holds when no job of the name is queued or running.
func (w *world) finished(name string) condition {
	is := func(j lab.Job) bool { return j.Name == name }
	return func(ctx context.Context) (bool, error) {
		state, err := w.Lab().State(ctx)
		return !slices.ContainsFunc(state.Queued, is) && !slices.ContainsFunc(state.Running, is), err
	}
}

// refused returns a step that counts the refusals of an action, and one that waits for another.
func (w *world) refused(action, reason string) (remember, another step) {
	var before float64
	count := func(ctx context.Context) (float64, error) {
		n, _, err := w.Metric(ctx, w.Ports.Remediator, "ghostrunner_remediator_actions_refused_total", map[string]string{"action": action, "reason": reason})
		return n, err
	}
	remember = func(ctx context.Context) (err error) { before, err = count(ctx); return err }
	another = await("the "+action+" to be refused", func(ctx context.Context) (bool, error) {
		n, err := count(ctx)
		return n > before, err
	})
	return remember, another
}
