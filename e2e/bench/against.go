package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/measure"
	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// otherHealer is another healer that runs: a shell command and its child processes, without
// containers.
type otherHealer struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when err is set
	err   error
}

// startOther also returns a context that ends with the command.
func startOther(ctx context.Context, command string) (*otherHealer, context.Context, error) {
	r := &otherHealer{cmd: exec.CommandContext(ctx, "sh", "-c", command), ended: make(chan struct{})}
	r.cmd.Stdout, r.cmd.Stderr = os.Stderr, os.Stderr
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	// The whole group, or the shell's children would survive.
	r.cmd.Cancel = func() error { return syscall.Kill(-r.cmd.Process.Pid, syscall.SIGTERM) }
	r.cmd.WaitDelay = 5 * time.Second
	if err := r.cmd.Start(); err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		r.err = r.cmd.Wait()
		close(r.ended)
		cancel()
	}()
	return r, ctx, nil
}

// stop ends it. If it had already ended, that is an error.
func (r *otherHealer) stop() error {
	select {
	case <-r.ended:
		return fmt.Errorf("the other healer ended (%v)", r.err) //nolint:errorlint // err may be nil
	default:
	}
	err := r.cmd.Cancel()
	<-r.ended
	return err
}

// used is what its processes, including those that have ended, have used.
type used struct {
	cpu      time.Duration
	resident float64
}

func (r *otherHealer) used() (u used) {
	for _, p := range measure.Processes(func(p measure.Process) bool { return p.Group == r.cmd.Process.Pid }) {
		u.cpu, u.resident = u.cpu+p.CPU, u.resident+p.Resident
	}
	return u
}

// cost is what it uses during a period, under the names of our own figures.
func (r *otherHealer) cost(part string, stretch func() error) ([]measure.Figure, error) {
	begun, before := time.Now(), r.used()
	err := stretch()
	after := r.used()
	return []measure.Figure{
		{Part: part, Name: "these together: CPU", Value: measure.PerMinute(after.cpu-before.cpu, time.Since(begun)), Unit: measure.CPUPerMinute},
		{Part: part, Name: "these together: memory resident", Value: after.resident, Unit: measure.Bytes},
	}, err
}

// other measures another healer's command, first without faults and then while containers with its
// label become unhealthy. Ghostrunner sees them but must not act on them.
func (b *bench) other(ctx context.Context, v victims) (all []measure.Figure, err error) {
	fmt.Fprintf(b.out, "  · %s without any fault, then %d restarts, by %s\n", b.idle, b.cycles, b.against)
	r, ctx, err := startOther(ctx, b.against)
	if err != nil {
		return nil, err
	}
	idle, err := r.cost("idle", func() error { return measure.Pause(ctx, b.idle) })
	var reactions []float64
	var loaded []measure.Figure
	if err == nil {
		loaded, err = r.cost("loaded", func() error {
			for n := range b.cycles {
				took, err := v.otherCycle(ctx, n+1, b.label)
				if err != nil {
					return err
				}
				reactions = append(reactions, took.Seconds())
				if b.verbose {
					fmt.Fprintf(b.out, "    %3d  %s\n", n+1, took.Round(time.Millisecond))
				}
			}
			return nil
		})
	}
	if stopped := r.stop(); stopped != nil {
		err = stopped // this explains any other error
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", b.against, err)
	}
	return append(append(idle, loaded...), quantiles(reactions)...), nil
}

// otherCycle is one container, from Docker's unhealthy event to the first event of the restart,
// until it is healthy again.
func (v victims) otherCycle(ctx context.Context, n int, label string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	victim, unhealthy, ordered, err := v.breakOne(ctx, fmt.Sprintf("other-%d", n), "--label="+label, "--label=ghostrunner.role=", "--label=ghostrunner.heal=")
	if err != nil {
		return 0, err
	}
	if err := stack.Await(ctx, victim+" to be healthy", func(ctx context.Context) (bool, error) {
		health, err := v.stack.Docker(ctx, "inspect", "--format={{.State.Health.Status}}", victim)
		return health == "healthy", err
	}); err != nil {
		return 0, err
	}
	return ordered.Sub(unhealthy), v.stack.RemoveVictims(ctx)
}
