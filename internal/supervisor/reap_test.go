package supervisor

import (
	"os"
	"os/exec"
	"testing"
	"time"
)

// TestOrphansSparesTheChild: a child that has ended and was not yet waited for by os/exec looks just like an orphan.
func TestOrphansSparesTheChild(t *testing.T) {
	f := family{proc: "/proc", reap: true}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$")
	if err := f.start(func() (int, error) {
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		return cmd.Process.Pid, nil
	}); err != nil {
		t.Fatal(err)
	}
	deadline := time.After(patience)
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
	f.orphans()
	if err := cmd.Wait(); err != nil {
		t.Errorf("os/exec lost the exit code: %v", err)
	}
}
