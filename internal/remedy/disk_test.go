package remedy

import (
	"context"
	"encoding/json"
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

// onOwnDisk runs this test once more in a process of its own, in whose sight a small tmpfs is mounted on a folder. It
// returns the folder there, and "" in the process that only waits for it. Nobody else sees the mount.
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

// TestDiskFull is a journal whose disk has no space left, for real: it is said, nothing is accepted that could be lost,
// nothing is done that is not written down first, and nobody has to start anything again.
func TestDiskFull(t *testing.T) {
	dir := onOwnDisk(t, "4m")
	if dir == "" {
		return
	}
	d := newFake(runnerContainer("ci-1", ActionRestart))
	d.busy("id-ci-1", true)
	var r *Remediator
	d.terminate = func(string) error {
		if !owes(t, r, "ci-1") {
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
		a := alertOf("A", ActionRestart, "runner", "ci-1", "filler", strings.Repeat("x", maxLabelValue))
		a["fingerprint"] = strconv.Itoa(accepted)
		w := post(r, payload(a))
		full = w.Code == 503
		if full && !strings.Contains(w.Body.String(), "no space left") {
			t.Errorf("answered with %d %s", w.Code, w.Body)
		}
		if accepted > 100_000 {
			t.Fatal("the disk never gets full")
		}
	}
	t.Logf("%d alerts fitted into what was set aside", accepted)
	until(t, "Ready to say so", func() bool { err := r.Ready(); return err != nil && strings.Contains(err.Error(), "no space left") })
	d.busy("id-ci-1", false)
	<-time.After(3 * time.Second) // time enough to do something
	// What was set aside may have room for the few bytes of an intent again, once alerts have been decided: then it may be done.
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	ready(t, r)
	idle(t, r)
	send(t, r, alertOf("B", ActionRestart, "runner", "ci-1"))
	until(t, "a restart, now that there is space", func() bool { return len(d.done()) >= 2 })
}

// owes tells whether the journal holds a debt to a target.
func owes(t *testing.T, r *Remediator, target string) (found bool) {
	t.Helper()
	r.mu.Lock()
	j := r.journal
	r.mu.Unlock()
	err := j.each(bucketDebts, []byte(target), func(k, _ []byte) (bool, error) {
		found = string(k) == target
		return false, nil
	})
	if err != nil {
		t.Error(err)
	}
	return found
}

// TestDiskReadOnly is a file system that is mounted read-only, as after an error, when the program starts.
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
	d := newFake(runnerContainer("ci-1", ActionRestart))
	r, _, _ := start(t, d, func(o *Options) { o.JournalPath = filepath.Join(dir, "journal.db") })
	until(t, "Ready to say so", func() bool {
		err := r.Ready()
		return err != nil && strings.Contains(err.Error(), "read-only") && strings.Contains(err.Error(), dir)
	})
	if w := post(r, payload(alertOf("A", ActionRestart, "runner", "ci-1"))); w.Code != 503 {
		t.Errorf("answered with %d %s", w.Code, w.Body)
	}
	remount(0)
	ready(t, r)
	send(t, r, alertOf("A", ActionRestart, "runner", "ci-1"))
	until(t, "a restart, now that it can be written", func() bool { return len(d.done()) == 2 })
}

// FuzzRestore reads a journal whose records may be anything: a damaged one is an error, and what is read can be worked with.
func FuzzRestore(f *testing.F) {
	now := moment{time.Now(), Mark{"a", time.Hour}}
	for _, v := range []any{
		Record{V: 1, ID: 3, Outcome: OutcomeCompleted, Action: ActionRestart, Target: "ci-1", Began: now.Time, Ended: now.Time, Rung: 2},
		Record{V: 1, ID: 4, Outcome: OutcomeRefused, Reason: string(Busy), Count: 3},
		Debt{V: 1, Target: "ci-1", Action: ActionBackoff, Record: 3, Since: now.Time, Mark: now.mark, Length: time.Minute},
		Breaker{State: HalfOpen, Length: time.Minute, Since: now.Time, Until: now.Time, Closes: now.Time, Ladder: true},
		Alert{Fingerprint: "f", Labels: map[string]string{"a": "b"}},
	} {
		b, err := json.Marshal(v)
		if err != nil {
			f.Fatal(err)
		}
		for i := range allBuckets {
			f.Add(uint8(i), []byte("12345678"), b)
		}
	}
	f.Add(uint8(7), []byte("restart|ci-1"), []byte("2026-01-01T00:00:00Z"))
	f.Add(uint8(6), []byte("ci-1"), []byte("12345678"))
	f.Add(uint8(2), []byte("1"), []byte(`{"v":2}`))
	f.Add(uint8(5), []byte("ci-1"), []byte(`{"state":"open","length":-9223372036854775808,"since":"9999-12-31T23:59:59Z"}`))
	f.Fuzz(func(t *testing.T, bucket uint8, key, value []byte) {
		m := newMemory()
		name := allBuckets[int(bucket)%len(allBuckets)]
		m.buckets[string(name)][string(key)] = value
		l := &life{m: &model{disk: m}}
		s, err := restore(&lifeStore{l}, now)
		if err != nil {
			if !strings.Contains(err.Error(), string(name)) {
				t.Errorf("does not say where: %v", err)
			}
			return
		}
		// What people and rules are shown.
		s.history(100)
		s.lastDecisions()
		s.evict(now.Time)
		for _, d := range s.debts {
			if left := d.due.Sub(now.Time); left < 0 || left > max(d.Length, 0) {
				t.Errorf("a debt is due in %s of %s", left, d.Length)
			}
		}
		for _, b := range s.breakers {
			if left := b.Until.Sub(now.Time); left > max(b.Length, 0) {
				t.Errorf("a breaker is open for %s of %s", left, b.Length)
			}
		}
	})
}
