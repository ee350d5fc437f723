package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/internal/lab"
	"github.com/blueguy23/ghostrunner/internal/supervisor"
)

const (
	labToken = "ghp_the_token_of_the_lab"
	slotUID  = 1001
	// waitLimit is how long a test waits for something that takes much less time, also while a
	// dozen processes start and end.
	waitLimit = 2 * time.Minute
)

// slot is this program as PID 1 of a container without Docker, with its own process table,
// temporary directories and runner, and a simulated GitHub.
type slot struct {
	testing.TB

	gh    *lab.GitHub
	url   string
	http  *http.Client
	root  string // of the runner
	state string
	env   []string

	program string // the supervisor; "" = this test's own program
	scale   string // factor on its waits; the listener's are shorter still, and GitHub's a fiftieth
	cmd     *exec.Cmd
	out     *output
}

// newSlot prepares a slot and does not start it.
func newSlot(t testing.TB) *slot {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Fatal("these tests are about a program that is PID 1 and root: run them as root")
	}
	gh, err := lab.NewGitHub(lab.GitHubOptions{
		Token: func() (string, error) { return labToken, nil }, Owner: "octo", Repo: "hello", TimeScale: 0.02, OfflineAfter: 3 * time.Second,
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(gh)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // connections end when slots do
	server.StartTLS()
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	// Not below /tmp, which is private to a slot.
	dir, err := os.MkdirTemp("/run", "ghostrunner-slot")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &slot{TB: t, gh: gh, url: server.URL, root: filepath.Join(dir, "runner"), state: filepath.Join(dir, "state.json"), out: newOutput(), scale: "0.05"}
	self, err := program1()
	if err != nil {
		t.Fatal(err)
	}
	pat, ca := filepath.Join(dir, "pat"), filepath.Join(dir, "ca.pem")
	roots, _ := os.ReadFile("/etc/ssl/certs/ca-certificates.crt") // with the usual ones, if there are any
	roots = append(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})...)
	s.http = server.Client()
	if err := errors.Join(
		os.WriteFile(ca, roots, 0o644),
		os.Chmod(dir, 0o755), os.MkdirAll(filepath.Join(s.root, "bin"), 0o755), os.Chmod(s.root, 0o777|os.ModeSticky),
		os.Link(self, filepath.Join(s.root, "bin", "Runner.Listener")), os.WriteFile(pat, []byte(labToken), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	s.env = []string{
		"PATH=" + os.Getenv("PATH"), "GITHUB_PAT_FILE=" + pat, "GITHUB_API_URL=" + s.url, "REPO_OWNER=octo", "REPO_NAME=hello",
		"SESSION_CONFLICT_WAIT=1", "LAB_TIME_SCALE=0.001", "GORACE=atexit_sleep_ms=0", "SSL_CERT_FILE=" + ca,
	}
	return s
}

// program1 returns a copy of this test's program that the job's user can run.
var program1 = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	data, err := os.ReadFile(self)
	if err != nil {
		return "", err
	}
	dir := filepath.Join("/run", fmt.Sprintf("ghostrunner-program-%d", os.Getpid()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	cleanups = append(cleanups, func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, program)
	return path, os.WriteFile(path, data, 0o755)
})

// cleanups run after all tests.
var cleanups []func()

// container makes what Docker would: the new process namespace's own /proc, a hostname, and private
// directories.
const container = `mount --make-rprivate / && mount -t proc proc /proc && echo ci-runner-1 >/proc/sys/kernel/hostname && for d in /tmp /var/tmp /dev/shm; do mount -t tmpfs -o mode=1777 none $d || exit; done; [ ! -d /etc/sudoers.d ] || mount -t tmpfs none /etc/sudoers.d; `

// start starts the supervisor. before is a shell text that the same process runs first.
func (s *slot) start(before string, flags ...string) {
	s.Helper()
	self, err := program1()
	if err != nil {
		s.Fatal(err)
	}
	if s.program != "" {
		self = s.program
	}
	args := append([]string{"-c", container + before + ` exec "$0" "$@"`, self, "run", "--runner.root=" + s.root, "--state-file=" + s.state,
		"--docker.socket=" + s.root + "/none", "--time-scale=" + s.scale,
		"--runner.pass-env=LAB_TIME_SCALE,GORACE"}, flags...)
	s.cmd = exec.Command("/bin/sh", args...) //nolint:noctx // Its end is what is tested.
	s.cmd.Env, s.cmd.Stdout, s.cmd.Stderr = s.env, stream{s.out, 0}, stream{s.out, 1}
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWUTS}
	if err := s.cmd.Start(); err != nil {
		s.Fatal("these tests make namespaces: run them as root with CAP_SYS_ADMIN: ", err)
	}
	process := s.cmd.Process
	s.Cleanup(func() { _ = process.Kill() }) // of PID 1, so the kernel ends all
}

// command runs another command of the program in the slot's environment, outside of its container.
func (s *slot) command(args ...string) (text string, code int) {
	s.Helper()
	self, err := program1()
	if err != nil {
		s.Fatal(err)
	}
	cmd := exec.CommandContext(s.Context(), self, args...)
	cmd.Env = s.env
	out, err := cmd.CombinedOutput()
	if _, isExit := errors.AsType[*exec.ExitError](err); err != nil && !isExit {
		s.Fatal(err)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

// stop sends SIGTERM and waits for the end of PID 1.
func (s *slot) stop() {
	s.Helper()
	s.signal(syscall.SIGTERM)
	s.ended()
}

func (s *slot) ended() {
	s.Helper()
	timer := time.AfterFunc(waitLimit, func() { _ = s.cmd.Process.Kill() })
	defer timer.Stop()
	if err := s.cmd.Wait(); err != nil {
		s.Errorf("the supervisor ended with %v\n%s", err, s.out)
	}
}

func (s *slot) signal(sig syscall.Signal) {
	s.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.Fatal(err)
	}
}

func (s *slot) fault(name, value string) {
	s.Helper()
	body, _ := json.Marshal(map[string]any{"on": true, "value": value})
	s.request(http.MethodPut, "/lab/v1/faults/"+name, body)
}

func (s *slot) clearFault(name string) {
	s.Helper()
	s.request(http.MethodPut, "/lab/v1/faults/"+name, []byte(`{"on":false}`))
}

// job enqueues a job.
func (s *slot) job(name, duration, result string) {
	s.Helper()
	s.enqueue(map[string]string{"name": name, "duration": duration, "result": result})
}

func (s *slot) enqueue(job map[string]string) {
	s.Helper()
	body, _ := json.Marshal(job)
	s.request(http.MethodPost, "/lab/v1/jobs", body)
}

// request makes a request to the simulated GitHub, with the token.
func (s *slot) request(method, path string, body []byte) {
	s.Helper()
	req, err := http.NewRequestWithContext(s.Context(), method, s.url+path, bytes.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+labToken)
	resp, err := s.http.Do(req)
	if err != nil {
		s.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode >= http.StatusMultipleChoices {
		s.Fatalf("%s %s: %s", method, path, resp.Status)
	}
}

// await waits for a condition without a notification.
func (s *slot) await(what string, ok func() bool) {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), waitLimit)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			s.Fatalf("waited for: %s\n%s", what, s.out)
		case <-tick.C:
		}
	}
}

// says waits until the output contains a text n times.
func (s *slot) says(text string, n int) {
	s.Helper()
	s.out.wait(s.TB, text, n)
}

// now reads the state file.
func (s *slot) now() supervisor.State {
	st, _ := supervisor.ReadState(s.state)
	return st
}

// health runs Docker's health check.
func (s *slot) health() (string, bool) {
	s.Helper()
	var out bytes.Buffer
	code := paths{procfs: s.proc()}.run(s.Context(), []string{"healthcheck", "--state-file=" + s.state}, &out, &out)
	return strings.TrimSpace(out.String()), code == 0
}

// proc is the process table of the container, in which PID 1 is the supervisor.
func (s *slot) proc() string { return fmt.Sprintf("/proc/%d/root/proc", s.cmd.Process.Pid) }

// tmp is a directory as the container has it.
func (s *slot) tmp(name string) string {
	return fmt.Sprintf("/proc/%d/root%s", s.cmd.Process.Pid, name)
}

// processes are the programs that run in the container.
func (s *slot) processes() []string {
	var names []string
	paths, _ := filepath.Glob(s.proc() + "/[0-9]*/cmdline")
	for _, path := range paths {
		if data, err := os.ReadFile(path); err == nil && len(data) > 0 {
			argv0, _, _ := bytes.Cut(data, []byte{0})
			names = append(names, filepath.Base(string(argv0)))
		}
	}
	slices.Sort(names)
	return names
}

// kill sends a signal to a program in the container, from outside.
func (s *slot) kill(name string, sig syscall.Signal) {
	s.Helper()
	paths, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	inside, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/pid", s.cmd.Process.Pid))
	if err != nil {
		s.Fatal(err)
	}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil || !strings.HasSuffix(strings.SplitN(string(data), "\x00", 2)[0], "/"+name) {
			continue
		}
		if ns, err := os.Readlink(filepath.Join(filepath.Dir(path), "ns", "pid")); err == nil && ns == inside {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			if err := syscall.Kill(pid, sig); err != nil {
				s.Fatal(err)
			}
			return
		}
	}
	s.Fatalf("no %s runs:\n%s", name, s.out)
}

// calls are the calls that changed something at GitHub, in their order: "register 201, delete 204".
func (s *slot) calls() string {
	var all []string
	for _, c := range s.gh.State().Calls {
		switch {
		case strings.HasSuffix(c.Path, "/generate-jitconfig"):
			all = append(all, "register "+strconv.Itoa(c.Status))
		case c.Method == http.MethodDelete:
			all = append(all, "delete "+strconv.Itoa(c.Status))
		case c.Method != http.MethodGet:
			all = append(all, c.Method+" "+c.Path)
		}
	}
	return strings.Join(all, ", ")
}

// disk lists what is on the disk of the runner, but for its program.
func (s *slot) disk() []string {
	var found []string
	_ = filepath.WalkDir(s.root, func(path string, d os.DirEntry, err error) error {
		switch name, _ := filepath.Rel(s.root, path); {
		case err != nil:
			found = append(found, err.Error())
		case name == "." || d.IsDir() && slices.Contains([]string{"bin", "_work", "_diag", "_home"}, name) || name == "bin/Runner.Listener":
		default:
			found = append(found, name)
		}
		return nil
	})
	return found
}

// output is what a process wrote, by stream, because the order between two streams has no meaning.
type output struct {
	mu      sync.Mutex
	streams [2]bytes.Buffer
	changed chan struct{}
}

func newOutput() *output { return &output{changed: make(chan struct{})} }

// stream is one of them.
type stream struct {
	*output
	n int
}

func (o stream) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.streams[o.n].Write(p)
}

func (o *output) read() (stdout, stderr string, changed chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.streams[0].String(), o.streams[1].String(), o.changed
}

// String leaves out long repetitions.
func (o *output) String() string {
	stdout, stderr, _ := o.read()
	return "stdout:\n" + regexp.MustCompile(`(?m)(^\[RUNNER .*(Successfully renew|Sleeping for).*\n){3,}`).ReplaceAllString(stdout, "...\n") + "stderr:\n" + stderr
}

func (o *output) wait(t testing.TB, text string, n int) {
	t.Helper()
	timeout := time.After(waitLimit)
	for {
		stdout, stderr, changed := o.read()
		if strings.Count(stdout, text)+strings.Count(stderr, text) >= n {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			t.Fatalf("%q was not written %d times:\n%s", text, n, o)
		}
	}
}

// prints checks that patterns occur in the output, each in one of the streams, and there in this
// order.
func (o *output) prints(t testing.TB, patterns ...string) {
	t.Helper()
	stdout, stderr, _ := o.read()
	for _, p := range patterns {
		found := false
		for _, rest := range []*string{&stdout, &stderr} {
			if at := regexp.MustCompile("(?m)" + p).FindStringIndex(*rest); at != nil {
				*rest, found = (*rest)[at[1]:], true
				break
			}
		}
		if !found {
			t.Errorf("the output has no %q, or not in this place:\n%s", p, o)
			return
		}
	}
}
