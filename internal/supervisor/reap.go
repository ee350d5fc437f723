package supervisor

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// family keeps the descendants of the supervisor: the one process that it starts and waits for itself, and the orphans
// that fall to it.
//
// Orphans must be waited for by PID 1, and os/exec must be the one who waits for the listener: a general wait4(-1) would
// sometimes take the listener's exit code away from it. So orphans are looked up in the process table and waited for one
// by one, and the process that is os/exec's is exempt from before it exists (start holds the lock) until its Wait has
// returned.
//
// Who belongs to a job is decided by descent, not by user: as "child subreaper" the supervisor inherits every process that
// a job ever left behind, also one that has become root by sudo, while a shell that an operator opened with docker exec (its
// parent is outside) is none of its business.
type family struct {
	proc string // /proc
	reap bool

	mu    sync.Mutex
	child int // waited for by os/exec; 0 = none
}

// adopt makes orphaned descendants fall to this process even if it is not PID 1 (prctl(2), PR_SET_CHILD_SUBREAPER).
func adopt() error {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("become child subreaper: %w", err)
	}
	return nil
}

// start runs a function that starts the child and returns its pid.
func (f *family) start(start func() (int, error)) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	pid, err := start()
	if err != nil {
		return err
	}
	f.child = pid
	return nil
}

// waited says that os/exec has waited for the child.
func (f *family) waited() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.child = 0
}

// interrupt sends SIGINT to the child alone. It holds the lock so that the pid cannot have become somebody else's.
func (f *family) interrupt() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.child != 0 {
		_ = syscall.Kill(f.child, syscall.SIGINT) // it may just have ended
	}
}

// orphans waits for every orphan that has ended.
func (f *family) orphans() {
	if !f.reap {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	self := os.Getpid()
	for _, p := range processes(f.proc) {
		if p.zombie && p.ppid == self && p.pid != f.child {
			var status syscall.WaitStatus
			_, _ = syscall.Wait4(p.pid, &status, syscall.WNOHANG, nil)
		}
	}
}

// reaper waits for orphans until ctx ends. Signals can be merged or come early, so it also looks now and then.
func (f *family) reaper(ctx context.Context) {
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
		f.orphans()
	}
}

// killAll kills every descendant and returns how many are still alive after the given time. A process can fork faster than
// one look at the table, so it looks until a look finds none.
func (f *family) killAll(within time.Duration) int {
	deadline := time.Now().Add(within)
	for {
		alive := 0
		for _, p := range descendants(processes(f.proc), os.Getpid()) {
			if !p.zombie {
				alive++
				_ = syscall.Kill(p.pid, syscall.SIGKILL)
			}
		}
		f.orphans()
		if alive == 0 || time.Now().After(deadline) {
			return alive
		}
		time.Sleep(10 * time.Millisecond)
	}
}
