package supervisor

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"
)

// processTree is the supervisor's descendants: the listener, which os/exec waits for, and orphans.
//
// PID 1 must wait for orphans, but a general wait4(-1) would sometimes take the listener's exit
// code from os/exec. So orphans are found in the process table and waited for one by one, without
// the listener, from before it exists (start holds the lock) until os/exec has waited for it.
//
// A process belongs to a job by descent, not by user: as child subreaper the supervisor becomes the
// parent of every orphan of a job, also of one that has become root. A shell of docker exec has its
// parent outside and is left alone.
type processTree struct {
	proc string // /proc
	reap bool

	mu    sync.Mutex
	child int // os/exec waits for it; 0: none
}

func (t *processTree) start(child *exec.Cmd) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err := child.Start(); err != nil {
		return err
	}
	t.child = child.Process.Pid
	return nil
}

// childReaped reports that os/exec has waited for the child.
func (t *processTree) childReaped() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.child = 0
}

// interrupt sends SIGINT to the child. It holds the lock, so the pid cannot be another process's.
func (t *processTree) interrupt() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.child != 0 {
		_ = syscall.Kill(t.child, syscall.SIGINT) // it may just have ended
	}
}

func (t *processTree) reapOrphans() {
	if !t.reap {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	self := os.Getpid()
	for _, p := range processes(t.proc) {
		if p.zombie && p.ppid == self && p.pid != t.child {
			var status syscall.WaitStatus
			_, _ = syscall.Wait4(p.pid, &status, syscall.WNOHANG, nil)
		}
	}
}

// reapUntil reaps orphans until ctx ends. Signals can be merged, so it also reaps every 10 s.
func (t *processTree) reapUntil(ctx context.Context) {
	died := make(chan os.Signal, 1)
	signal.Notify(died, syscall.SIGCHLD)
	defer signal.Stop(died)
	tick := time.NewTicker(10 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-died:
		case <-tick.C:
		}
		t.reapOrphans()
	}
}

// killAll kills every descendant and returns how many are left after the given time. It repeats
// until it finds none, because a process can fork faster than the table is read.
func (t *processTree) killAll(within time.Duration) int {
	deadline := time.Now().Add(within)
	for {
		alive := 0
		for _, p := range descendants(processes(t.proc), os.Getpid()) {
			if !p.zombie {
				alive++
				_ = syscall.Kill(p.pid, syscall.SIGKILL)
			}
		}
		t.reapOrphans()
		if alive == 0 || time.Now().After(deadline) {
			return alive
		}
		time.Sleep(10 * time.Millisecond)
	}
}
