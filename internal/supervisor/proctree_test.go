package supervisor

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// A child that has ended, and that os/exec has not waited for, looks like an orphan.
func TestReapOrphansLeavesTheChild(t *testing.T) {
	f := processTree{proc: "/proc", reap: true}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	if err := f.start(cmd); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(waitLimit)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if p, ok := readProcess("/proc", cmd.Process.Pid); ok && p.zombie {
			break
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("the child did not end")
		}
	}
	f.reapOrphans()
	if err := cmd.Wait(); err != nil {
		t.Errorf("os/exec lost the exit code: %v", err)
	}
}
