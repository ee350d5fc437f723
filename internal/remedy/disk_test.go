package remedy

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

const diskEnv = "GHOSTRUNNER_TEST_DISK"

// onOwnDisk runs this test once more in a process of its own, in whose sight a small tmpfs is
// mounted on a folder. It returns the folder there, and "" in the process that only waits for it.
// No other process sees the mount.
func onOwnDisk(t *testing.T, size string) string {
	t.Helper()
	if dir := os.Getenv(diskEnv); dir != "" {
		if err := syscall.Mount("none", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
			t.Fatal("private mounts:", err)
		}
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
			t.Fatal("mount tmpfs:", err)
		}
		return dir
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), diskEnv+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	if uid := os.Getuid(); uid != 0 {
		cmd.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		cmd.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		cmd.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("with a disk of its own (that needs root, or user namespaces): %v\n%s", err, out)
	}
	return ""
}

// TestDiskFull is a journal whose disk has no space left, for real: it is said, nothing is accepted
// that could be lost, nothing is done that is not written down first, and nobody has to start
// anything again.
func TestDiskFull(t *testing.T) {
	dir := onOwnDisk(t, "4m")
	if dir == "" {
		return
	}
	d := newFake(slot("ci-1", ActionRestart))
	d.busy("id-ci-1", true)
	var r *Remediator
	d.terminate = func(string) error {
		if !pending(r, "ci-1") {
			t.Error("done before it was written down")
		}
		return nil
	}
	r, _, _ = start(t, d, func(o *Options) { o.JournalPath = filepath.Join(dir, "journal.db") })
	ready(t, r)
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 16<<20), 0o600); err == nil {
		t.Fatal("the disk is not small")
	}
	// What the journal has set aside lets it go on for a while.
	send(t, r, alertOf("A", ActionRestart, "runner", "ci-1"))
	accepted := 1
	for full := false; !full; accepted++ {
		a := alertOf("A", ActionRestart, "runner", "ci-1", "filler", strings.Repeat("x", 256))
		a.Fingerprint = strconv.Itoa(accepted)
		err := report(r, a)
		full = err != nil
		if full && !strings.Contains(err.Error(), "no space left") {
			t.Error(err)
		}
		if accepted > 100_000 {
			t.Fatal("the disk never gets full")
		}
	}
	t.Logf("%d alerts fitted into what was set aside", accepted)
	until(t, "Ready to say so", func() bool { err := r.Ready(); return err != nil && strings.Contains(err.Error(), "no space left") })
	d.busy("id-ci-1", false)
	<-time.After(3 * time.Second) // time enough to do something
	// What was set aside may have room for the few bytes of an intent again, once alerts have been
	// decided: then it may be done.
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	ready(t, r)
	idle(t, r)
	send(t, r, alertOf("B", ActionRestart, "runner", "ci-1"))
	until(t, "a restart, now that there is space", func() bool { return len(d.done()) >= 2 })
}

// pending tells whether something is wanted of a target, which is on disk then.
func pending(r *Remediator, target string) bool {
	_, ok := r.store.State().Starts[target]
	return ok
}

// TestDiskReadOnly is a file system that is mounted read-only, as after an error, when the program
// starts.
func TestDiskReadOnly(t *testing.T) {
	dir := onOwnDisk(t, "4m")
	if dir == "" {
		return
	}
	remount := func(flags uintptr) {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", syscall.MS_REMOUNT|flags, "size=4m"); err != nil {
			t.Fatal("remount:", err)
		}
	}
	remount(syscall.MS_RDONLY)
	d := newFake(slot("ci-1", ActionRestart))
	r, _, _ := start(t, d, func(o *Options) { o.JournalPath = filepath.Join(dir, "journal.db") })
	until(t, "Ready to say so", func() bool {
		err := r.Ready()
		return err != nil && strings.Contains(err.Error(), "read-only") && strings.Contains(err.Error(), dir)
	})
	if err := report(r, alertOf("A", ActionRestart, "runner", "ci-1")); err == nil {
		t.Error("accepted")
	}
	remount(0)
	ready(t, r)
	send(t, r, alertOf("A", ActionRestart, "runner", "ci-1"))
	until(t, "a restart, now that it can be written", func() bool { return len(d.done()) == 2 })
}
