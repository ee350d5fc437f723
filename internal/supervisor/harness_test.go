package supervisor

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// errToken is GitHub's refusal of the token.
var errToken = &runner.Error{Op: "register runner", Reason: runner.ReasonAuth, Status: http.StatusUnauthorized, Err: errors.New("bad credentials")}

// waitLimit is how long a test waits for something that takes much less time, on a busy machine
// too.
const waitLimit = 2 * time.Minute

// fakeGitHub hands out one behavior of the stub listener per registration, and then "idle" ones.
type fakeGitHub struct {
	behaviors []string
	onJIT     func(name string) error
	onDelete  func(id int64) error
	onRunners func() ([]runner.Registration, error)
	onRunner  func(id int64) (runner.Registration, error)

	mu      sync.Mutex
	names   []string
	deleted []int64
}

func (f *fakeGitHub) JITConfig(_ context.Context, name string) (runner.JIT, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.onJIT != nil {
		if err := f.onJIT(name); err != nil {
			return runner.JIT{}, err
		}
	}
	n := len(f.names)
	f.names = append(f.names, name)
	behavior := "idle"
	if n < len(f.behaviors) {
		behavior = f.behaviors[n]
	}
	return runner.JIT{ID: int64(n + 1), Encoded: behavior + "|" + name}, nil
}

func (f *fakeGitHub) DeleteRunner(_ context.Context, id int64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.deleted = append(f.deleted, id)
	if f.onDelete != nil {
		return f.onDelete(id)
	}
	return nil
}

func (f *fakeGitHub) Runners(context.Context) ([]runner.Registration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.onRunners != nil {
		return f.onRunners()
	}
	return nil, nil
}

func (f *fakeGitHub) Runner(_ context.Context, id int64) (runner.Registration, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.onRunner != nil {
		return f.onRunner(id)
	}
	return runner.Registration{ID: id, Status: runner.StatusOnline}, nil
}

func (f *fakeGitHub) seen() (names []string, deleted []int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append(names, f.names...), append(deleted, f.deleted...)
}

// record is an output whose text a test can wait for.
type record struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	written chan struct{}
}

func newRecord() *record { return &record{written: make(chan struct{}, 1)} }

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.buf.Write(p)
	select {
	case r.written <- struct{}{}:
	default:
	}
	return len(p), nil
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.String()
}

// wait returns when the text was written n times.
func (r *record) wait(t *testing.T, text string, n int) {
	t.Helper()
	timeout := time.After(waitLimit)
	for strings.Count(r.String(), text) < n {
		select {
		case <-r.written:
		case <-timeout:
			t.Fatalf("%q was not written %d times within %s:\n%s", text, n, waitLimit, r)
		}
	}
}

// slot is a supervisor under test.
type slot struct {
	t              *testing.T
	root, temp     string
	state          string
	github         *fakeGitHub
	stdout, stderr *record // the supervisor's log is in stderr
	cancel         context.CancelFunc
	done           chan error
}

const testUID, testGID = 1001, 1001

// fastTiming shortens repeated waits. Delays until a listener is killed stay longer than a listener
// takes to end, on a busy machine too.
func fastTiming() timing {
	t := defaultTiming()
	for i := range t.backoff {
		t.backoff[i] = time.Duration(i) * time.Millisecond
	}
	t.killTimeout = waitLimit / 4
	t.deleteRetry = 20 * time.Millisecond
	t.drainUnanswered = 100 * time.Millisecond
	t.heartbeat = 20 * time.Millisecond
	t.staleCheck, t.readyCheck, t.statusCheck = 10*time.Millisecond, 10*time.Millisecond, 10*time.Millisecond
	return t
}

// startSlot runs a supervisor over the real operating system and a stub listener until the test
// ends.
func startSlot(t *testing.T, github *fakeGitHub, change func(*Config)) *slot {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests start processes as another user: run them as root")
	}
	dir, err := os.MkdirTemp("", "supervisor") // not t.TempDir, which other users cannot enter
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &slot{
		t: t, root: filepath.Join(dir, "runner"), temp: filepath.Join(dir, "temp"), state: filepath.Join(dir, "state.json"),
		github: github, stdout: newRecord(), stderr: newRecord(), done: make(chan error, 1),
	}
	for _, d := range []string{dir, filepath.Join(s.root, "bin"), s.root, s.temp} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, d := range []string{dir, s.root, s.temp} {
		if err := errors.Join(os.Chmod(d, 0o755), os.Chown(d, testUID, testGID)); err != nil {
			t.Fatal(err)
		}
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	copyFile(t, self, listenerPath(s.root))

	cfg := Config{
		Slot: "ci-runner-1", Root: s.root, UID: testUID, GID: testGID, Groups: []int{0, 4242},
		TempDirs: []string{s.temp},
		Environ: []string{
			"PATH=/bin", "HOME=/root", "USER=root", "GITHUB_PAT=ghp_secret", "DOCKERHUB_TOKEN=dckr_secret", "GITHUB_PAT_FILE=/run/secrets/pat",
			"ACTIONS_RUNNER_INPUT_TOKEN=secret", "MORE=" + s.temp,
			"GORACE=atexit_sleep_ms=0", // the race detector would let each process sleep for a second at its end
		},
		DockerHub: Login{Username: "octo", Token: func() (string, error) { return "dckr_secret", nil }},
		PassEnv:   []string{"MORE", "GORACE"}, StateFile: s.state, SessionConflictWait: 10 * time.Millisecond, Reap: true,
		Registrar: github, Stdout: s.stdout, Stderr: s.stderr,
		Logger: slog.New(slog.NewTextHandler(s.stderr, nil)), timing: fastTiming(),
	}
	if change != nil {
		change(&cfg)
	}
	sup := New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() { s.done <- sup.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if pid := s.listenerPID(); pid != 0 { // only if the test failed half-way
			signalProcess(pid)
		}
	})
	return s
}

// stop drains the slot and waits for its end.
func (s *slot) stop() State {
	s.t.Helper()
	s.cancel()
	return s.ended()
}

// ended waits for the end of a slot that drains.
func (s *slot) ended() State {
	s.t.Helper()
	select {
	case err := <-s.done:
		if err != nil {
			s.t.Errorf("Run: %v", err)
		}
	case <-time.After(waitLimit):
		s.t.Fatalf("the slot did not stop:\n%s\n%s", s.stderr, s.stdout)
	}
	st, err := ReadState(s.state)
	if err != nil {
		s.t.Fatal(err)
	}
	if st.Phase != Stopped {
		s.t.Errorf("phase = %s", st.Phase)
	}
	for _, name := range credentialFiles {
		if _, err := os.Lstat(filepath.Join(s.root, name)); err == nil {
			s.t.Errorf("%s is still on the disk", name)
		}
	}
	return st
}

func (s *slot) listenerPID() int {
	st, err := ReadState(s.state)
	if err != nil {
		return 0
	}
	return st.PID
}

// field returns what follows key in the listener's output, up to the next space.
func (s *slot) field(key string) int {
	s.t.Helper()
	_, after, ok := strings.Cut(s.stdout.String(), key)
	if !ok {
		s.t.Fatalf("no %q in the output:\n%s", key, s.stdout)
	}
	n, err := strconv.Atoi(strings.Fields(after)[0])
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}
