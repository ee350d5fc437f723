package machine

import (
	"os/exec"
	"strings"
	"testing"
)

func TestMachinesHaveOwnControlGroups(t *testing.T) {
	one, other := Options{Dir: "/a"}.cgroupParent(), Options{Dir: "/b"}.cgroupParent()
	if one == other || one != (Options{Dir: "/a"}).cgroupParent() {
		t.Errorf("%s and %s", one, other)
	}
}

func TestLockExcludesOthers(t *testing.T) {
	dir := t.TempDir()
	held, err := Lock(dir, "machine")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Lock(dir, "machine"); err == nil || !strings.Contains(err.Error(), "another machine runs in "+dir) {
		t.Errorf("a second one: %v", err)
	}
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Lock(dir, "machine")
	if err != nil {
		t.Fatalf("after the end of the first: %v", err)
	}
	_ = again.Close()
}

// The exit code is the child's, even if others end earlier.
func TestReapReturnsExitCode(t *testing.T) {
	for script, want := range map[string]int{"exit 3": 3, "kill -KILL $$": 137} {
		other := exec.CommandContext(t.Context(), "true")
		child := exec.CommandContext(t.Context(), "sh", "-c", "sleep 0.1; "+script)
		for _, cmd := range []*exec.Cmd{other, child} {
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
		}
		if code, err := Reap(child.Process.Pid); code != want || err != nil {
			t.Errorf("%s: %d, %v; want %d", script, code, err, want)
		}
	}
}
