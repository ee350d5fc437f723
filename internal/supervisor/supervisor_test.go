package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

func signalProcess(pid int) { _ = syscall.Kill(pid, syscall.SIGKILL) }

func running(pid int) bool {
	p, ok := readProcess("/proc", pid)
	return ok && !p.zombie
}

// receive waits for one value of a fake.
func receive(t *testing.T, from <-chan struct{}) {
	t.Helper()
	select {
	case <-from:
	case <-time.After(waitLimit):
		t.Fatalf("nothing came within %s", waitLimit)
	}
}

func TestOneJobAfterTheOther(t *testing.T) {
	s := startSlot(t, &fakeGitHub{behaviors: []string{"job", "job"}}, nil)
	s.stdout.wait(t, "Runner registered. Waiting for a job...", 3)
	names, deleted := s.github.seen()
	if len(names) != 3 || names[0] == names[1] || !ownName("ci-runner-1", names[0]) {
		t.Errorf("names = %v, want three different ones of the slot", names)
	}
	if len(deleted) != 0 {
		t.Errorf("deleted %v: GitHub removes a registration after its job itself", deleted)
	}
	if uid, gid := s.field("uid="), s.field("gid="); uid != testUID || gid != testGID {
		t.Errorf("the listener ran as %d:%d", uid, gid)
	}
	if pid, pgid := s.field(" pid="), s.field("pgid="); pid != pgid {
		t.Errorf("pid %d is not the leader of its group %d", pid, pgid)
	}
	environ, err := os.ReadFile(filepath.Join(s.root, "environ"))
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(string(environ), "\n")
	slices.Sort(got)
	want := []string{
		"ACTIONS_RUNNER_INPUT_JITCONFIG=job|" + names[1], "ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT=1",
		"ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE=1", "GORACE=atexit_sleep_ms=0", "HOME=" + s.root + "/_home", "MORE=" + s.temp, "PATH=/bin",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("environment of the job (-want +got):\n%s", diff)
	}
	for _, path := range []string{s.root + "/_work/leaked", s.root + "/_diag/Worker.log", s.temp + "/of-the-job", s.root + "/_home/.bashrc", s.root + "/.credentials_rsaparams.x"} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s outlived its job", path)
		}
	}
	// The value is base64 of octo:dckr_secret.
	if !strings.Contains(s.stdout.String(), `login: {"auths":{"https://index.docker.io/v1/":{"auth":"b2N0bzpkY2tyX3NlY3JldA=="}}} -rw------- <nil>`) {
		t.Error("the job was not logged in at Docker Hub")
	}
	if !strings.Contains(s.stdout.String(), "at home: [.bashrc .docker]\n") {
		t.Error("the job could not write at home")
	}
	st := s.stop()
	if st.Jobs != 2 || st.Failures != 0 || st.PID != 0 || st.Name != "" {
		t.Errorf("state = %+v", st)
	}
	if _, deleted := s.github.seen(); !slices.Equal(deleted, []int64{3}) {
		t.Errorf("deleted %v, want the idle registration", deleted)
	}
	for _, secret := range []string{"job|", "ghp_", "dckr_"} {
		if strings.Contains(s.stderr.String(), secret) {
			t.Errorf("the log contains %q", secret)
		}
	}
	if !strings.Contains(s.stdout.String(), "\nRunner listener exited with code 0.\n") || !strings.Contains(s.stdout.String(), "\n"+stubStamp+"Running job: build\n") {
		t.Errorf("stdout:\n%s", s.stdout)
	}
}

// In a directory of root a job can leave nothing and remove nothing.
func TestJobLeavesNothingInTheRunnersDirectory(t *testing.T) {
	s := startSlot(t, &fakeGitHub{behaviors: []string{"hostile job", "job"}}, func(cfg *Config) {
		if err := errors.Join(os.Chown(cfg.Root, 0, 0), os.Chmod(cfg.Root, 0o777|os.ModeSticky)); err != nil {
			t.Fatal(err)
		}
		if p := CheckProgram(cfg.Root, User{UID: testUID, GID: testGID}); len(p) != 0 {
			t.Error(p)
		}
	})
	s.stdout.wait(t, "Runner registered. Waiting for a job...", 3)
	s.stop()
	if diff := cmp.Diff([]string{"_diag", "_home", "_work", "bin"}, ls(s.root)); diff != "" {
		t.Errorf("left in the runner's directory (-want +got):\n%s", diff)
	}
}

// TestEndOfListener checks the cause and the registration for each way a listener ends.
func TestEndOfListener(t *testing.T) {
	for _, tc := range []struct {
		behavior string
		cause    string
		deleted  []int64 // before the drain
		hangs    bool    // the listener is ended by force
	}{
		{"exit 0", "registration_deleted", []int64{1}, false},
		{"deleted", "registration_deleted", []int64{1}, false},
		{"conflict", CauseSessionConflict, []int64{1}, false},
		{"exit 7", CauseVersionDeprecated, []int64{1}, false},
		{"crash", "job without a result: killed by signal 9", []int64{1}, false},
		{"unknown", "exit code 45", []int64{1}, false},
		{"used up", "its job could not be acquired", []int64{1}, false},
		{"silent with a job's message", "handed a job that it did not start: exit code 0", []int64{1}, false},
		{"silent with a job", "job without a result: exit code 0", []int64{1}, false},
		{"exit 2", "An error occurred: something", []int64{1}, false},
		{"hangs after its job", "job completed: Succeeded", []int64{1}, true},
	} {
		t.Run(tc.behavior, func(t *testing.T) {
			s := startSlot(t, &fakeGitHub{behaviors: []string{tc.behavior}}, func(cfg *Config) {
				cfg.timing.jobStart, cfg.timing.workerless = 300*time.Millisecond, 300*time.Millisecond
				if tc.hangs {
					cfg.timing.jobExit, cfg.timing.interruptGrace = 300*time.Millisecond, 300*time.Millisecond
				}
			})
			s.stderr.wait(t, tc.cause, 1)
			s.stdout.wait(t, stubStamp+"Listening for Jobs", 1)
			s.stderr.wait(t, "listener started", 2)
			names, deleted := s.github.seen()
			if len(names) != 2 || names[0] == names[1] {
				t.Errorf("names = %v, want a new one", names)
			}
			if !slices.Equal(deleted, tc.deleted) {
				t.Errorf("deleted %v, want %v", deleted, tc.deleted)
			}
			s.stop()
		})
	}
}

func TestDrainIdle(t *testing.T) {
	s := startSlot(t, &fakeGitHub{}, nil)
	s.stderr.wait(t, "to=listening", 1)
	s.stop()
	if !strings.Contains(s.stdout.String(), "Exiting...\n") {
		t.Error("the listener was not interrupted")
	}
	if _, deleted := s.github.seen(); !slices.Equal(deleted, []int64{1}) {
		t.Errorf("deleted %v, want once", deleted)
	}
}

func TestDrainBusy(t *testing.T) {
	asked := make(chan struct{}, 100)
	github := &fakeGitHub{behaviors: []string{"busy"}, onDelete: func(int64) error { asked <- struct{}{}; return runner.ErrBusy }}
	s := startSlot(t, github, nil)
	s.stderr.wait(t, "to=job", 1)
	s.cancel()
	for range 3 {
		receive(t, asked)
	}
	pid := s.listenerPID()
	if st, _ := ReadState(s.state); st.Phase != Draining || !running(pid) {
		t.Fatalf("state %+v: the job does not run any more", st)
	}
	_ = syscall.Kill(pid, syscall.SIGUSR1) // the job ends
	st := s.ended()
	if st.Jobs != 1 || strings.Contains(s.stdout.String(), "Exiting...") {
		t.Errorf("the job was interrupted: %+v\n%s", st, s.stdout)
	}
}

// A silent listener with a worker does its job, however long that takes and whatever GitHub says.
func TestListenerWithWorkerIsNotStuck(t *testing.T) {
	s := startSlot(t, &fakeGitHub{behaviors: []string{"worker"}}, func(cfg *Config) {
		cfg.timing.jobStart, cfg.timing.workerless, cfg.timing.deleteRetry = 1, 1, 1
	})
	s.stderr.wait(t, "to=job", 1)
	for begin, timeout := time.Now(), time.After(waitLimit); ; {
		if st, _ := ReadState(s.state); st.Updated.Sub(begin) >= 10*fastTiming().heartbeat { // it was looked at as often
			break
		}
		select {
		case <-time.After(fastTiming().heartbeat):
		case <-timeout:
			t.Fatal("the state is not written")
		}
	}
	if _, deleted := s.github.seen(); len(deleted) > 0 {
		t.Errorf("GitHub was asked to delete %v beside a job", deleted)
	}
	_ = syscall.Kill(s.listenerPID(), syscall.SIGUSR1)
	s.stderr.wait(t, "job completed: Succeeded", 1)
	s.stop()
}

// GitHub has called busy runners idle, or not found.
func TestDrainNeverInterruptsAJob(t *testing.T) {
	for name, tc := range map[string]struct {
		behavior, started string
		answer            error
	}{
		"deleted although busy":         {"busy", "to=job", nil},
		"not found although busy":       {"busy", "to=job", runner.ErrNotFound},
		"deleted with a worker process": {"worker only", "to=listening", nil},
		"no answer while busy":          {"busy", "to=job", errToken},
		"no answer, a worker process":   {"worker only", "to=listening", errToken},
	} {
		t.Run(name, func(t *testing.T) {
			asked := make(chan struct{}, 1000)
			github := &fakeGitHub{behaviors: []string{tc.behavior}, onDelete: func(int64) error { asked <- struct{}{}; return tc.answer }}
			s := startSlot(t, github, nil)
			s.stderr.wait(t, tc.started, 1)
			s.cancel()
			for range 12 { // longer than drainUnanswered
				receive(t, asked)
			}
			pid := s.listenerPID()
			if !running(pid) {
				t.Fatalf("the listener was stopped:\n%s", s.stdout)
			}
			_ = syscall.Kill(pid, syscall.SIGUSR1)
			s.ended()
			if strings.Contains(s.stdout.String(), "Exiting...") {
				t.Errorf("the job was interrupted:\n%s", s.stdout)
			}
		})
	}
}

func TestDrainWithoutGitHub(t *testing.T) {
	s := startSlot(t, &fakeGitHub{onDelete: func(int64) error { return errToken }}, nil)
	s.stderr.wait(t, "to=listening", 1)
	s.stop()
	if !strings.Contains(s.stdout.String(), "Exiting...\n") {
		t.Error("the listener was not interrupted")
	}
}

func TestDrainKillsListenerThatIgnoresSIGINT(t *testing.T) {
	s := startSlot(t, &fakeGitHub{behaviors: []string{"deaf"}}, func(cfg *Config) { cfg.timing.interruptGrace = 300 * time.Millisecond })
	s.stderr.wait(t, "to=listening", 1)
	pid := s.listenerPID()
	st := s.stop()
	if running(pid) || !strings.Contains(st.Cause, "killed by signal 9") {
		t.Errorf("cause %q, running %v", st.Cause, running(pid))
	}
}

func TestDrainBeforeTheFirstRegistration(t *testing.T) {
	refused := make(chan struct{}, 1000)
	s := startSlot(t, &fakeGitHub{onJIT: func(string) error { refused <- struct{}{}; return errToken }}, nil)
	receive(t, refused)
	receive(t, refused)
	st := s.stop()
	if st.Failures == 0 {
		t.Errorf("state = %+v", st)
	}
}

func TestLeftoverProcessesAreKilled(t *testing.T) {
	s := startSlot(t, &fakeGitHub{behaviors: []string{"job with leftover"}}, nil)
	s.stdout.wait(t, "Runner registered. Waiting for a job...", 2)
	pid := s.field("leftover pid ")
	if _, exists := readProcess("/proc", pid); exists {
		t.Errorf("process %d of the job is still there, or was never waited for", pid)
	}
	s.stop()
}

// The reaper and os/exec wait for processes of the same parent. The listener's exit code must not
// get lost.
func TestReaperLeavesTheListenerToExec(t *testing.T) {
	const jobs = 20
	s := startSlot(t, &fakeGitHub{behaviors: slices.Repeat([]string{"job with leftover"}, jobs)}, nil)
	s.stdout.wait(t, "Runner registered. Waiting for a job...", jobs+1)
	s.stop()
	if n := strings.Count(s.stdout.String(), "Runner listener exited with code 0.\n"); n != jobs+1 {
		t.Errorf("%d of %d exit codes were seen", n, jobs+1)
	}
	for _, p := range descendants(processes("/proc"), os.Getpid()) {
		t.Errorf("process %d is left, zombie: %v", p.pid, p.zombie)
	}
}

func TestUnconfirmedRegistrationIsDeleted(t *testing.T) {
	lost := ""
	github := &fakeGitHub{}
	github.onJIT = func(name string) error {
		if lost == "" {
			lost = name
			return errors.New("timeout")
		}
		return nil
	}
	github.onRunners = func() ([]runner.Registration, error) {
		return []runner.Registration{{ID: 41, Name: "ci-runner-1-another1234", Status: runner.StatusOnline}, {ID: 42, Name: lost}}, nil
	}
	s := startSlot(t, github, func(cfg *Config) { cfg.timing.staleCheck = time.Hour })
	s.stderr.wait(t, "to=listening", 1)
	if _, deleted := github.seen(); !slices.Equal(deleted, []int64{42}) {
		t.Errorf("deleted %v, want the registration whose making was not answered", deleted)
	}
	s.stop()
}

func TestStaleRegistrationsAreDeleted(t *testing.T) {
	looks := 0
	connected := make(chan struct{})
	github := &fakeGitHub{onRunners: func() ([]runner.Registration, error) {
		looks++
		all := []runner.Registration{
			{ID: 101, Name: "ci-runner-1-abcdefghij", Status: runner.StatusOffline},
			{ID: 102, Name: "ci-runner-1-abcdefghik", Status: runner.StatusOnline},
			{ID: 103, Name: "ci-runner-1-abcdefghim", Status: runner.StatusOffline, Busy: true},
			{ID: 104, Name: "ci-runner-1", Status: runner.StatusOffline},
			{ID: 105, Name: "ci-runner-1-2-abcdefghij", Status: runner.StatusOffline}, // of the slot ci-runner-1-2
			{ID: 106, Name: "ci-runner-10-abcdefghij", Status: runner.StatusOffline},
			{ID: 107, Name: "ci-runner-1-mine", Status: runner.StatusOffline},
			{ID: 108, Name: "ci-runner-1-abcdefghip", Status: map[bool]string{true: runner.StatusOnline, false: runner.StatusOffline}[looks < 20]}, // just killed: GitHub shows it late
		}
		select {
		case <-connected:
			all = append(all, runner.Registration{ID: 1, Name: "ci-runner-1-abcdefghin", Status: runner.StatusOffline}) // the one in use, whose polls fail
		default:
		}
		if looks == 5 {
			return nil, errToken
		}
		return append(all, runner.Registration{ID: int64(1000 + looks), Name: "ci-runner-1-abcdefghiq", Status: runner.StatusOffline}), nil // listed only once
	}}
	s := startSlot(t, github, nil)
	s.stderr.wait(t, "to=listening", 1)
	close(connected)
	s.stderr.wait(t, "registration=ci-runner-1-abcdefghip", 3)
	s.stop()
	_, deleted := s.github.seen()
	slices.Sort(deleted)
	if deleted = slices.Compact(deleted); !slices.Equal(deleted, []int64{1, 101, 108}) {
		t.Errorf("deleted %v, want the left-over ones and, at the end, our own", deleted)
	}
	if n := strings.Index(s.stderr.String(), "to=draining"); strings.Contains(s.stderr.String()[:n], "registration=ci-runner-1-abcdefghin") {
		t.Error("the present registration was deleted")
	}
}

func TestNoRegistrationWhileAProcessOfTheLastJobRuns(t *testing.T) {
	proc := t.TempDir()
	const pid = 1 << 30 // above every pid_max, so that no process is killed
	if err := os.Mkdir(filepath.Join(proc, strconv.Itoa(pid)), 0o755); err != nil {
		t.Fatal(err)
	}
	stat := filepath.Join(proc, strconv.Itoa(pid), "stat")
	if err := os.WriteFile(stat, fmt.Appendf(nil, "%d (stuck) D %d 0 0", pid, os.Getpid()), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Supervisor{cfg: Config{Root: t.TempDir(), UID: testUID, GID: testGID}, tree: processTree{proc: proc}}
	if err := s.cleanUp(); err == nil || !strings.Contains(err.Error(), "1 processes of the last job cannot be killed") {
		t.Errorf("cleanUp = %v", err)
	}
	if err := os.Remove(stat); err != nil { // the process has ended
		t.Fatal(err)
	}
	if err := s.cleanUp(); err != nil {
		t.Errorf("cleanUp = %v", err)
	}
}

func TestNoRegistrationIfCleaningFails(t *testing.T) {
	s := startSlot(t, &fakeGitHub{}, func(cfg *Config) { cfg.Root += "/none" })
	s.stderr.wait(t, "cause=\"cleaning: open the runner's directory", 3)
	s.stop()
	if names, _ := s.github.seen(); len(names) > 0 {
		t.Errorf("registrations %v before everything was cleaned", names)
	}
}

func TestVolumesInTemporaryDirectoriesStay(t *testing.T) {
	dir := t.TempDir()
	volume := filepath.Join(dir, "cache")
	if err := os.Mkdir(volume, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("none", volume, "tmpfs", 0, "size=4k,uid="+strconv.Itoa(testUID)); err != nil {
		t.Fatal("this test mounts a file system: run it as root with CAP_SYS_ADMIN: ", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(volume, 0) })
	kept, left := filepath.Join(volume, "kept"), filepath.Join(dir, "left")
	for _, name := range []string{kept, left} {
		if err := errors.Join(os.WriteFile(name, nil, 0o600), os.Chown(name, testUID, testGID)); err != nil {
			t.Fatal(err)
		}
	}
	volumes, err := readMounts()
	if err != nil {
		t.Fatal(err)
	}
	if err := removeOwned(dir, testUID, volumes, nil); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"cache", "kept"}, append(ls(dir), ls(volume)...)); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// A volume in the job's home or work directory is a cache. It and the directories that lead to it
// stay.
func TestVolumesInJobDirectoriesStay(t *testing.T) {
	root := t.TempDir()
	volume := filepath.Join(root, "_home", ".cache", "a cache")
	if err := errors.Join(os.MkdirAll(volume, 0o755), os.MkdirAll(filepath.Join(root, "_home", "deep", "er"), 0o755)); err != nil {
		t.Fatal(err)
	}
	mount(t, "none", volume, "tmpfs", 0)
	for _, name := range []string{volume + "/kept", root + "/_home/.cache/left", root + "/_home/deep/er/left", root + "/_home/left"} {
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := &Supervisor{cfg: Config{Root: root, UID: testUID, GID: testGID}}
	if err := s.cleanUp(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{".cache", "a cache", "kept"}, slices.Concat(ls(root+"/_home"), ls(root+"/_home/.cache"), ls(volume))); diff != "" {
		t.Errorf("left (-want +got):\n%s", diff)
	}
}

// A directory of the job that is itself a volume is emptied.
func TestHomeThatIsAVolumeIsEmptied(t *testing.T) {
	root, volume := t.TempDir(), t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(root, "_home"), 0o755), os.MkdirAll(filepath.Join(volume, "deep", "er"), 0o755)); err != nil {
		t.Fatal(err)
	}
	mount(t, volume, filepath.Join(root, "_home"), "", unix.MS_BIND)
	s := &Supervisor{cfg: Config{Root: root, UID: testUID, GID: testGID}}
	if err := s.cleanUp(); err != nil {
		t.Fatal(err)
	}
	if left := ls(volume); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func mount(t *testing.T, source, at, kind string, flags uintptr) {
	t.Helper()
	if err := unix.Mount(source, at, kind, flags, ""); err != nil {
		t.Fatal("this test mounts a file system: run it as root with CAP_SYS_ADMIN: ", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(at, unix.MNT_DETACH) })
}

func TestCleaningDoesNotFollowLinks(t *testing.T) {
	outside := t.TempDir()
	precious := filepath.Join(outside, "precious")
	if err := os.WriteFile(precious, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := os.Symlink(outside, filepath.Join(root, "_work")); err != nil {
		t.Fatal(err)
	}
	s := &Supervisor{cfg: Config{Root: root, UID: testUID, GID: testGID}}
	if err := s.cleanUp(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(precious); err != nil {
		t.Errorf("cleaning left the runner's directory: %v", err)
	}
	if info, err := os.Lstat(filepath.Join(root, "_work")); err != nil || !info.IsDir() {
		t.Errorf("_work is no directory: %v", err)
	}
}
