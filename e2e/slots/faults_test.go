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

// fault is something that happens to a slot, or to all of them. How long each slot may be without work after it is over is
// stated in docs/figures.md.
type fault struct {
	name string
	// ci is true for those that CI strikes; all others are for the long run.
	ci bool
	// busy strikes beside a job that runs on the slot, and cuts says that this job may be lost by it.
	busy, cuts bool
	// everybody is true where the other slot is struck as well.
	everybody bool
	// hold is how long it lasts, in the world's time. within is how soon after that the slot must take a job again.
	hold, within time.Duration
	// steady is how long GitHub must have answered before the rules order the restart that heals it: the window of
	// a minute of GhostrunnerRunnerRetryLoop, which no haste shortens. At the world's own pace it is over before it could hold anything up.
	steady time.Duration
	// strike returns what ends it; nil: it is over by itself.
	strike func(t *testing.T, slot string) (mend func(context.Context) error)
}

const outage = 10 * time.Minute

// faults is the list, the quick ones first. A fault of GitHub's or of the listener is a switch of the lab, whose table says what
// really happens.
var faults = []fault{
	{name: "listener killed", ci: true, within: 30 * time.Second, strike: kill("Runner.Listener")},
	{name: "listener killed beside a job", ci: true, busy: true, cuts: true, within: 30 * time.Second, strike: kill("Runner.Listener")},
	{name: "worker killed", ci: true, busy: true, cuts: true, within: 30 * time.Second, strike: kill("Runner.Worker")},
	{name: "supervisor killed", within: 30 * time.Second, strike: kill("")},
	{name: "supervisor killed beside a job", ci: true, busy: true, cuts: true, within: 30 * time.Second, strike: kill("")},
	{name: "container restarted", within: 30 * time.Second, strike: restart},
	{name: "container restarted, listener deaf to SIGINT", within: 2 * time.Minute, strike: deafRestart},
	{name: "listener crashes with a job", ci: true, cuts: true, within: 2 * time.Minute, strike: provoked("listener-crash", "")},
	{name: "listener exits with 1 with a job", cuts: true, within: 2 * time.Minute, strike: provoked("listener-crash", "1")},
	{name: "lock of the job lost", busy: true, cuts: true, hold: 90 * time.Second, within: 2 * time.Minute, strike: inLab("renew-lost", "")},
	{name: "job that nobody can acquire", ci: true, within: 5 * time.Minute, strike: provoked("ghost-job", "")},
	{name: "listener deaf after a job's message", within: 5 * time.Minute, strike: provoked("deaf", "")},
	{name: "listener deaf after it announced a job", cuts: true, within: 15 * time.Minute, strike: provoked("deaf", "job")},
	{name: "worker hangs until its job is cancelled", cuts: true, hold: time.Minute, within: 6 * time.Minute, strike: hang},

	{name: "long poll dead", ci: true, within: 5 * time.Minute, steady: time.Minute, strike: inLab("retry-loop", "")},
	{name: "network cut", ci: true, hold: outage, cuts: true, within: 5 * time.Minute, strike: unplug},
	{name: "network cut beside a job", hold: outage, busy: true, cuts: true, within: 5 * time.Minute, strike: unplug},
	{name: "poll fails", hold: outage, cuts: true, within: 5 * time.Minute, strike: inLab("poll-outage-v2", "")},
	{name: "poll fails, older protocol", hold: outage, cuts: true, within: 5 * time.Minute, strike: inLab("poll-outage-v1", "")},
	{name: "no session can be made", hold: outage, within: 5 * time.Minute, strike: atStart("create-outage", "")},
	{name: "session conflict", ci: true, hold: 5 * time.Minute, within: 5 * time.Minute, strike: atStart("session-conflict", "")},
	{name: "registration deleted", ci: true, hold: time.Minute, within: 5 * time.Minute, strike: atStart("registration-deleted", "")},
	{name: "runner too old", hold: time.Minute, within: 5 * time.Minute, strike: atStart("version-deprecated", "")},
	{name: "names taken", hold: time.Minute, within: 5 * time.Minute, strike: atStart("jit-409", "")},

	{name: "GitHub answers 500", ci: true, everybody: true, hold: outage, within: 5 * time.Minute, strike: forAll("github-500", "")},
	{name: "GitHub answers garbage", everybody: true, hold: outage, within: 5 * time.Minute, strike: forAll("github-garbage", "")},
	{name: "GitHub's quota used up", everybody: true, hold: outage, within: 5 * time.Minute, strike: forAll("rate-limited", "403:3")},
	{name: "GitHub's secondary limit", everybody: true, hold: outage, within: 5 * time.Minute, strike: forAll("rate-limited", "429:3")},
	{name: "registrations refused", hold: time.Minute, within: 5 * time.Minute, strike: atStart("jit-422", "")},
	{name: "PAT rejected", everybody: true, hold: outage, within: 5 * time.Minute, strike: forAll("pat-rejected", "")},
	{name: "clock 10 min off", ci: true, everybody: true, hold: outage, within: 5 * time.Minute, strike: clockOff},
}

// host is this machine, whose engine runs the containers.
var host machine.Engine

// kill ends processes as the kernel does when memory is short; an empty name: the supervisor.
func kill(program string) func(*testing.T, string) func(context.Context) error {
	return func(t *testing.T, slot string) func(context.Context) error {
		if err := host.Signal(t.Context(), system.Container(slot), program, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		return nil
	}
}

// unplug pulls the cable of a container at the machine's end: its packets vanish without a word, as when a VPN changes. A restart of
// the container, which gives it a new cable, does not end that.
func unplug(t *testing.T, slot string) func(context.Context) error {
	pid, ends, err := host.Unplug(t.Context(), system.Container(slot))
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
				if p, e, err := host.Unplug(ctx, system.Container(slot)); err == nil { // else it is not running again yet
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
				continue // the container is being restarted right now, and gets a new one
			}
			if err := exec.CommandContext(ctx, "ip", "link", "set", end, "up").Run(); err != nil {
				return err
			}
		}
		return nil
	}
}

// restart is what a person, or the remediator, does.
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

// set switches a fault of the lab on.
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
		// The present listeners know nothing of it until they have to register again.
		for _, slot := range slots {
			enqueue(t, job("before "+name, slot, 0))
		}
		return off(name, "")
	}
}

// atStart strikes the next listener: a job ends the present one.
func atStart(name, value string) func(*testing.T, string) func(context.Context) error {
	return func(t *testing.T, slot string) func(context.Context) error {
		last := enqueue(t, job("before "+name, slot, time.Second))
		awaitRunning(t, last.ID)
		set(t, name, slot, value)
		return off(name, slot)
	}
}

// provoked strikes the next job of the slot, once.
func provoked(name, value string) func(*testing.T, string) func(context.Context) error {
	return func(t *testing.T, slot string) func(context.Context) error {
		set(t, name, slot, value)
		struck := enqueue(t, job(strings.TrimSpace("for "+name+" "+value), slot, time.Second))
		awaitState(t, fmt.Sprintf("job %d to be handed out", struck.ID), handedOut(struck.ID))
		return off(name, slot)
	}
}

// proofs tell by a job that was queued for a fault whether the fault has struck it.
var proofs = map[string]func(lab.Job) bool{
	"for listener-crash":   func(j lab.Job) bool { return j.Result == "Abandoned" },
	"for listener-crash 1": func(j lab.Job) bool { return j.Result == "Abandoned" },
	"for ghost-job":        func(j lab.Job) bool { return j.Result == "" },
	"for deaf":             func(j lab.Job) bool { return j.Assigned.Sub(j.Enqueued) >= scaled(time.Minute) }, // to the next listener
	"for deaf job":         func(j lab.Job) bool { return j.Result == "Abandoned" },
	"for worker-hang":      func(j lab.Job) bool { return j.Result == "Canceled" },
}

// hang ends as GitHub ends it: by a person's hand, or by that of timeout-minutes.
func hang(t *testing.T, slot string) func(context.Context) error {
	set(t, "worker-hang", slot, "")
	struck := enqueue(t, job("for worker-hang", slot, 0))
	await(t, "the worker", func(ctx context.Context) (bool, error) {
		programs, err := system.Docker(ctx, "top", system.Container(slot), "-eo", "pid,args")
		return strings.Contains(programs, "Runner.Worker"), err
	})
	return func(ctx context.Context) error {
		return errors.Join(off("worker-hang", slot)(ctx), github.Cancel(ctx, struck.ID))
	}
}

// clockOff is what sleep does to a laptop: by GitHub's word the local clock is 10 min ahead, and the service takes the signatures of
// all listeners for those of deleted registrations (actions/runner#4648).
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

// chosen are the faults that this run strikes, each at least once.
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
		t.Fatalf("-faults=%q names no fault", *only)
	}
	return list
}
