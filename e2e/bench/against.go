package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// rival is what another healer did in the same run, on the same engine, with the same containers.
type rival struct {
	Command   string          `json:"command"`
	Reactions []time.Duration `json:"reactions_ns"`
	// CPU is in seconds, of the command and all that it started.
	CPU     float64 `json:"cpu_seconds"`
	Seconds float64 `json:"seconds"`
}

// against runs another healer's command while containers with its label become unhealthy. Ours sees them, and may not
// touch them.
func (b *bench) against(ctx context.Context, command, label string, cycles int) (r rival, err error) {
	r.Command = command
	cmd := exec.CommandContext(ctx, "sh", "-c", command)
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// All of it, or what the shell started lives on.
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Start(); err != nil {
		return r, err
	}
	began := time.Now()
	for n := range cycles {
		d, err := b.against1(ctx, n, label)
		if err != nil {
			_ = cmd.Cancel()
			_ = cmd.Wait()
			return r, fmt.Errorf("%s: %w", command, err)
		}
		r.Reactions = append(r.Reactions, d)
		if b.verbose {
			fmt.Fprintf(b.out, "    %3d  %s\n", n+1, millis(d))
		}
	}
	r.Seconds = time.Since(began).Seconds()
	_ = cmd.Cancel()
	_ = cmd.Wait() // ended by our signal
	r.CPU = (cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds()
	return r, nil
}

// against1 is one container, from Docker's unhealthy event to the first of the order.
func (b *bench) against1(ctx context.Context, n int, label string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := pause(ctx, rand.N(spread)); err != nil {
		return 0, err
	}
	victim, err := b.stack.StartVictim(ctx, b.image, fmt.Sprintf("rival-%d", n), "--label="+label, "--label=ghostrunner.role=", "--label=ghostrunner.heal=")
	if err != nil {
		return 0, err
	}
	unhealthy, err := b.await(ctx, victim, "health_status: unhealthy")
	if err != nil {
		return 0, err
	}
	ordered, err := b.await(ctx, victim, "kill")
	if err != nil {
		return 0, err
	}
	if err := stack.Await(ctx, victim+" to be healthy", func(ctx context.Context) (bool, error) {
		health, err := b.stack.Docker(ctx, "inspect", "--format={{.State.Health.Status}}", victim)
		return health == "healthy", err
	}); err != nil {
		return 0, err
	}
	return ordered.Sub(unhealthy), b.stack.RemoveVictims(ctx)
}
