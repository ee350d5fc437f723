package slots_test

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/machine"
	"github.com/blueguy23/ghostrunner/internal/lab"
)

// fault is a fault of one slot or of all. docs/figures.md states how soon after it each slot takes
// a job again.
type fault struct {
	name string
	// ci is true for those that CI runs.
	ci bool
	// busy: it is injected while a job runs on the slot. cuts: it may interrupt this job.
	busy, cuts bool
	// allSlots: it affects the other slot too.
	allSlots bool
	// hold is how long it lasts. within is how soon after that the slot must take a job again. Both
	// are scaled.
	hold, within time.Duration
	// steady is how long GitHub must have answered before the rules order the restart: a window of
	// a rule that is not scaled. At scale 1 it is over in time.
	steady time.Duration
	// inject returns what removes the fault; nil: it removes itself.
	inject func(t *testing.T, slot string) (remove func(context.Context) error)
}

const outage = 10 * time.Minute

// faults is the list, the fast ones first. Faults of GitHub and of the listener are those of the
// lab.
var faults = []fault{
	{name: "listener killed", ci: true, within: 30 * time.Second, inject: kill("Runner.Listener")},
	{name: "listener killed beside a job", ci: true, busy: true, cuts: true, within: 30 * time.Second, inject: kill("Runner.Listener")},
	{name: "worker killed", ci: true, busy: true, cuts: true, within: 30 * time.Second, inject: kill("Runner.Worker")},
	{name: "supervisor killed", within: 30 * time.Second, inject: kill("")},
	{name: "supervisor killed beside a job", ci: true, busy: true, cuts: true, within: 30 * time.Second, inject: kill("")},
	{name: "container restarted", within: 30 * time.Second, inject: restart},
	{name: "container restarted, listener ignores SIGINT", within: 2 * time.Minute, inject: deafRestart},
	{name: "listener crashes with a job", ci: true, cuts: true, within: 2 * time.Minute, inject: forNextJob("listener-crash", "")},
	{name: "listener exits with 1 with a job", cuts: true, within: 2 * time.Minute, inject: forNextJob("listener-crash", "1")},
	{name: "lock of the job lost", busy: true, cuts: true, hold: 90 * time.Second, within: 2 * time.Minute, inject: inLab("renew-lost", "")},
	{name: "job that cannot be acquired", ci: true, within: 5 * time.Minute, inject: forNextJob("ghost-job", "")},
	{name: "listener deaf after a job's message", within: 5 * time.Minute, inject: forNextJob("deaf", "")},
	{name: "listener deaf after it announced a job", cuts: true, within: 15 * time.Minute, inject: forNextJob("deaf", "job")},
	{name: "worker hangs until its job is cancelled", cuts: true, hold: time.Minute, within: 6 * time.Minute, inject: hang},

	{name: "long poll dead", ci: true, within: 5 * time.Minute, steady: time.Minute, inject: inLab("retry-loop", "")},
	{name: "network cut", ci: true, hold: outage, cuts: true, within: 5 * time.Minute, inject: disconnect},
	{name: "network cut beside a job", hold: outage, busy: true, cuts: true, within: 5 * time.Minute, inject: disconnect},
	{name: "poll fails", hold: outage, cuts: true, within: 5 * time.Minute, inject: inLab("poll-outage-v2", "")},
	{name: "poll fails, older protocol", hold: outage, cuts: true, within: 5 * time.Minute, inject: inLab("poll-outage-v1", "")},
	{name: "no session can be made", hold: outage, within: 5 * time.Minute, inject: atStart("create-outage", "")},
	{name: "session conflict", ci: true, hold: 5 * time.Minute, within: 5 * time.Minute, inject: atStart("session-conflict", "")},
	{name: "registration deleted", ci: true, hold: time.Minute, within: 5 * time.Minute, inject: atStart("registration-deleted", "")},
	{name: "runner too old", hold: time.Minute, within: 5 * time.Minute, inject: atStart("version-deprecated", "")},
	{name: "names taken", hold: time.Minute, within: 5 * time.Minute, inject: atStart("jit-409", "")},

	{name: "GitHub answers 500", ci: true, allSlots: true, hold: outage, within: 5 * time.Minute, inject: forAll("github-500", "")},
	{name: "GitHub answers garbage", allSlots: true, hold: outage, within: 5 * time.Minute, inject: forAll("github-garbage", "")},
	{name: "GitHub's quota used up", allSlots: true, hold: outage, within: 5 * time.Minute, inject: forAll("rate-limited", "403:3")},
	{name: "GitHub's secondary limit", allSlots: true, hold: outage, within: 5 * time.Minute, inject: forAll("rate-limited", "429:3")},
	{name: "registrations refused", hold: time.Minute, within: 5 * time.Minute, inject: atStart("jit-422", "")},
	{name: "PAT rejected", allSlots: true, hold: outage, within: 5 * time.Minute, inject: forAll("pat-rejected", "")},
	{name: "clock 10 min off", ci: true, allSlots: true, hold: outage, within: 5 * time.Minute, inject: clockOff},
}

// host is this machine, whose engine runs the containers.
var host machine.Engine

// kill kills processes without Docker, as the kernel does when memory is short; an empty name: the
// supervisor.
func kill(program string) func(*testing.T, string) func(context.Context) error {
	return func(t *testing.T, slot string) func(context.Context) error {
		if err := host.Signal(t.Context(), system.Container(slot), program, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return nil
	}
}

// disconnect takes a container's network down, also after restarts of the container, which create a
// new interface.
func disconnect(t *testing.T, slot string) func(context.Context) error {
	pid, ends, err := host.Disconnect(t.Context(), system.Container(slot))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-tick.C:
				if syscall.Kill(pid, 0) == nil {
					continue
				}
				if p, e, err := host.Disconnect(ctx, system.Container(slot)); err == nil { // else it is not running yet
					pid, ends = p, e
				}
			}
		}
	}()
	return func(ctx context.Context) error {
		stop()
		<-done
		for _, end := range ends {
			if exec.CommandContext(ctx, "ip", "link", "show", end).Run() != nil {
				continue // the container is restarting and gets a new interface
			}
			if err := exec.CommandContext(ctx, "ip", "link", "set", end, "up").Run(); err != nil {
				return err
			}
		}
		return nil
	}
}

// restart does what a person or the remediator does.
func restart(t *testing.T, slot string) func(context.Context) error {
	if _, err := system.Docker(t.Context(), "restart", system.Container(slot)); err != nil {
		t.Fatal(err)
	}
	return nil
}

func deafRestart(t *testing.T, slot string) func(context.Context) error {
	set(t, "ignore-sigint", slot, "")
	restart(t, slot)
	return off("ignore-sigint", slot)
}

// set turns a fault of the lab on.
func set(t *testing.T, name, slot, value string) {
	t.Helper()
	if _, err := github.SetFault(t.Context(), name, slot, true, value); err != nil {
		t.Fatal(err)
	}
}

func off(name, slot string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := github.SetFault(ctx, name, slot, false, "")
		return err
	}
}

func inLab(name, value string) func(*testing.T, string) func(context.Context) error {
	return func(t *testing.T, slot string) func(context.Context) error {
		set(t, name, slot, value)
		return off(name, slot)
	}
}

func forAll(name, value string) func(*testing.T, string) func(context.Context) error {
	return func(t *testing.T, _ string) func(context.Context) error {
		set(t, name, "", value)
		// Running listeners are affected only when they register again.
		for _, slot := range slots {
			enqueue(t, job("before "+name, slot, 0))
		}
		return off(name, "")
	}
}

// atStart affects the next listener: a job ends the running one.
func atStart(name, value string) func(*testing.T, string) func(context.Context) error {
	return func(t *testing.T, slot string) func(context.Context) error {
		last := enqueue(t, job("before "+name, slot, time.Second))
		awaitRunning(t, last.ID)
		set(t, name, slot, value)
		return off(name, slot)
	}
}

// forNextJob affects the next job of the slot, once.
func forNextJob(name, value string) func(*testing.T, string) func(context.Context) error {
	return func(t *testing.T, slot string) func(context.Context) error {
		set(t, name, slot, value)
		injected := enqueue(t, job(strings.TrimSpace("for "+name+" "+value), slot, time.Second))
		awaitState(t, fmt.Sprintf("job %d to be handed out", injected.ID), handedOut(injected.ID))
		return off(name, slot)
	}
}

// proofs report, from the job that was queued for a fault, whether it had an effect.
var proofs = map[string]func(lab.Job) bool{
	"for listener-crash":   func(j lab.Job) bool { return j.Result == "Abandoned" },
	"for listener-crash 1": func(j lab.Job) bool { return j.Result == "Abandoned" },
	"for ghost-job":        func(j lab.Job) bool { return j.Result == "" },
	"for deaf":             func(j lab.Job) bool { return j.Assigned.Sub(j.Enqueued) >= scaled(time.Minute) }, // to the next listener
	"for deaf job":         func(j lab.Job) bool { return j.Result == "Abandoned" },
	"for worker-hang":      func(j lab.Job) bool { return j.Result == "Canceled" },
}

// hang is ended by a cancellation, as by a person or timeout-minutes.
func hang(t *testing.T, slot string) func(context.Context) error {
	set(t, "worker-hang", slot, "")
	injected := enqueue(t, job("for worker-hang", slot, 0))
	await(t, "the worker", func(ctx context.Context) (bool, error) {
		programs, err := system.Docker(ctx, "top", system.Container(slot), "-eo", "pid,args")
		return strings.Contains(programs, "Runner.Worker"), err
	})
	return func(ctx context.Context) error {
		return errors.Join(off("worker-hang", slot)(ctx), github.Cancel(ctx, injected.ID))
	}
}

// clockOff is what a suspend does to a laptop: by GitHub's Date the local clock is 10 min ahead,
// and the service reports the registrations of all listeners as deleted (actions/runner#4648).
func clockOff(t *testing.T, _ string) func(context.Context) error {
	set(t, "github-date", "", "-600")
	set(t, "registration-deleted", "", "")
	for _, slot := range slots {
		enqueue(t, job("before the clock", slot, 0))
	}
	return func(ctx context.Context) error {
		for _, name := range []string{"github-date", "registration-deleted"} {
			if err := off(name, "")(ctx); err != nil {
				return err
			}
		}
		return nil
	}
}

// chosen are the faults of this run, each at least once.
func chosen(t *testing.T) (list []fault) {
	for _, f := range faults {
		switch {
		case *only != "":
			for name := range strings.SplitSeq(*only, ",") {
				if strings.TrimSpace(name) == f.name {
					list = append(list, f)
				}
			}
		case f.ci || *jobs >= 100:
			list = append(list, f)
		}
	}
	if len(list) == 0 {
		t.Fatalf("-faults=%q matches no fault", *only)
	}
	return list
}
