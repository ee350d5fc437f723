package lab

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
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

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files; `make generate` does")

// TestMain makes the test binary the listener or the worker, depending on the name by which it is
// called.
func TestMain(m *testing.M) {
	root := filepath.Dir(filepath.Dir(os.Args[0]))
	switch filepath.Base(os.Args[0]) {
	case "Runner.Listener":
		os.Exit(Listener(ListenerOptions{Root: root, Args: os.Args[1:], Stdout: os.Stdout, Stderr: os.Stderr}))
	case "Runner.Worker":
		os.Exit(Worker(root, os.Stdin, os.Stdout))
	}
	os.Exit(m.Run())
}

const (
	testToken = "lab-token"
	slot      = "ci-runner-1"
	name      = slot + "-abc"
	patience  = 2 * time.Minute
)

// testGitHub is a simulated GitHub on a socket.
type testGitHub struct {
	*testing.T
	gh  *GitHub
	url string
}

func newTestGitHub(t *testing.T) *testGitHub {
	t.Helper()
	gh, err := NewGitHub(GitHubOptions{
		Token: func() (string, error) { return testToken, nil }, Owner: "o", Repo: "r",
		TimeScale: 0.1, OfflineAfter: 3 * time.Second, // short, because a runner polls this often
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(gh)
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	return &testGitHub{t, gh, server.URL}
}

// fault turns a fault on or off through the control API.
func (b *testGitHub) fault(name string, on bool, value string) {
	b.Helper()
	if _, err := NewClient(b.url).SetFault(b.Context(), name, "", on, value); err != nil {
		b.Fatal(err)
	}
}

func (b *testGitHub) queue(name string, d time.Duration, result string) {
	b.Helper()
	if _, err := b.gh.world.enqueue(Job{Name: name, Wanted: result, duration: d}, time.Now()); err != nil {
		b.Fatal(err)
	}
}

// jit registers a runner through the REST API.
func (b *testGitHub) jit(name string) string {
	b.Helper()
	var out struct {
		JIT string `json:"encoded_jit_config"`
	}
	resp := b.request(http.MethodPost, "/repos/o/r/actions/runners/generate-jitconfig",
		`{"name":"`+name+`","runner_group_id":1,"labels":["self-hosted"]}`, nil, &out)
	if resp.status != 201 {
		b.Fatalf("JIT configuration: %d %s", resp.status, resp.text)
	}
	return out.JIT
}

// await waits until ok is true for the state of the simulated GitHub.
func (b *testGitHub) await(what string, ok func(State) bool) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), patience)
	defer cancel()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !ok(b.gh.State()) {
		select {
		case <-ctx.Done():
			b.Fatalf("waited for: %s; state %+v", what, b.gh.State())
		case <-tick.C:
		}
	}
}

func (b *testGitHub) awaitPolling() {
	b.Helper()
	b.await("polling", func(s State) bool {
		return len(s.Registrations) == 1 && s.Registrations[0].Session != nil && s.Registrations[0].Session.Polling
	})
}

type output struct {
	mu      sync.Mutex
	buf     bytes.Buffer
	changed chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	close(o.changed)
	o.changed = make(chan struct{})
	return o.buf.Write(p)
}

func (o *output) look() (string, chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String(), o.changed
}

// process is a running listener.
type process struct {
	*testGitHub
	root           string
	cmd            *exec.Cmd
	stdout, stderr *output
}

// start starts a listener in a root folder, which is created if it is empty.
func (b *testGitHub) start(root, jit string, env ...string) *process {
	b.Helper()
	if root == "" {
		root = b.TempDir()
		self, err := os.Executable()
		if err != nil {
			b.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(root, "bin"), 0o755); err != nil {
			b.Fatal(err)
		}
		for _, program := range []string{"Runner.Listener", "Runner.Worker"} {
			if err := os.Symlink(self, filepath.Join(root, "bin", program)); err != nil {
				b.Fatal(err)
			}
		}
	}
	p := &process{testGitHub: b, root: root, stdout: &output{changed: make(chan struct{})}, stderr: &output{changed: make(chan struct{})}}
	p.cmd = exec.CommandContext(b.Context(), filepath.Join(root, "bin", "Runner.Listener"), "run", "--startuptype", "service")
	p.cmd.Env = append(os.Environ(), append(env, "LAB_TIME_SCALE=0.001", "ACTIONS_RUNNER_INPUT_JITCONFIG="+jit)...)
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.WaitDelay = 3 * time.Second // an orphaned worker holds the pipes, whose content must be read
	if err := p.cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) })
	return p
}

// says waits until a stream contains text n times.
func (p *process) says(o *output, text string, n int) {
	p.Helper()
	timeout := time.After(patience)
	for {
		all, changed := o.look()
		if strings.Count(all, text) >= n {
			return
		}
		select {
		case <-changed:
		case <-timeout:
			out, _ := p.stdout.look()
			err, _ := p.stderr.look()
			p.Fatalf("waited for %q; stdout:\n%s\nstderr:\n%s", text, out, err)
		}
	}
}

// diagSays waits for a line in the diagnostic logs.
func (p *process) diagSays(text string) {
	p.Helper()
	timeout := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !strings.Contains(p.diag("*"), text) {
		select {
		case <-tick.C:
		case <-timeout:
			p.Fatalf("waited for %q in the diagnostic logs:\n%s", text, p.diag("*"))
		}
	}
}

func (p *process) diag(kind string) string {
	names, _ := filepath.Glob(filepath.Join(p.root, "_diag", kind+"_*-utc.log"))
	var all strings.Builder
	for _, name := range names {
		b, _ := os.ReadFile(name)
		all.Write(b)
	}
	return all.String()
}

func (p *process) signal(s syscall.Signal) {
	p.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.Fatal(err)
	}
}

// wait returns the exit code as a shell reports it.
func (p *process) wait() int {
	p.Helper()
	timer := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	_ = p.cmd.Wait()
	if ws := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return p.cmd.ProcessState.ExitCode()
}

var normal = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ`), "{ts}"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ`), "{time}"},
	{regexp.MustCompile(`till \d\d/\d\d/\d{4} \d\d:\d\d:\d\d`), "till {time}"},
	{regexp.MustCompile(`(?:\n√ Connected to GitHub\n\n){2,}`), "{several times:\n√ Connected to GitHub\n\n}\n"},
	{regexp.MustCompile(`(?m)(?:^The local machine's clock.*\n){57,}`), "{57 times and more: clock out of sync}\n"},
}

func normalise(s string) string {
	for _, n := range normal {
		s = n.pattern.ReplaceAllString(s, n.with)
	}
	return s
}

// TestListenerGolden compares the listener's output, exit code and files with transcripts that were
// written from the facts about actions/runner 2.336.
func TestListenerGolden(t *testing.T) {
	finish := func(p *process) { p.queue("build (linux)", 10*time.Millisecond, "Succeeded") }
	interrupt := func(p *process) { p.awaitPolling(); p.signal(syscall.SIGINT) }
	type scenario struct {
		once  string // a line that repeats a random number of times
		jit   bool
		env   []string
		setup func(b *testGitHub)
		act   func(p *process)
	}
	fault := func(name, value string) func(*testGitHub) { return func(b *testGitHub) { b.fault(name, true, value) } }
	scenarios := map[string]scenario{
		"normal":             {jit: true, act: finish},
		"not-configured":     {},
		"result-with-issues": {jit: true, act: func(p *process) { p.queue("test", 0, "SucceededWithIssues") }},
		"nasty-name": {jit: true, act: func(p *process) {
			p.queue("[RUNNER ü√ \"x\" completed with result: Failed", 0, "Skipped")
		}},
		"print-log": {jit: true, env: []string{"ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT=1"}, act: interrupt},
		"create-outage": {jit: true, setup: fault(faultCreateOutage, ""), act: func(p *process) {
			p.says(p.stdout, "Connected", 4)
			p.fault(faultCreateOutage, false, "")
			finish(p)
		}},
		"poll-outage-v1": {jit: true, act: func(p *process) {
			for i := range 2 {
				p.awaitPolling()
				p.fault(faultPollOutageV1, true, "")
				p.says(p.stderr, "Retrying until reconnected.", i+1)
				p.fault(faultPollOutageV1, false, "")
				p.says(p.stdout, "Runner reconnected.", i+1)
			}
			finish(p)
		}},
		"poll-outage-v2": {jit: true, act: func(p *process) {
			p.awaitPolling()
			p.fault(faultPollOutageV2, true, "")
			p.says(p.stderr, "Retrying until reconnected.", 1)
			p.fault(faultPollOutageV2, false, "")
			p.awaitPolling()
			p.fault(faultPollOutageV2, true, "") // the error count continues
		}},
		"session-conflict": {jit: true, setup: fault(faultSessionConflict, "")},
		"session-conflict-clears": {once: "A session for this runner already exists.\n", jit: true, setup: fault(faultSessionConflict, ""), act: func(p *process) {
			p.says(p.stderr, "already exists", 1)
			p.fault(faultSessionConflict, false, "")
			finish(p)
		}},
		"version-deprecated":         {jit: true, setup: fault(faultVersionDeprecated, "")},
		"version-deprecated-code":    {jit: true, setup: fault(faultVersionDeprecated, ""), env: []string{"ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE=1"}},
		"version-deprecated-old":     {jit: true, setup: fault(faultVersionDeprecated, "old"), env: []string{"ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE=1"}},
		"version-deprecated-session": {jit: true, setup: fault(faultVersionDeprecated, "session"), env: []string{"ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE=1"}},
		"update":                     {jit: true, setup: fault(faultUpdate, "")},
		"deaf-job": {jit: true, setup: fault(faultDeaf, "job"), act: func(p *process) {
			finish(p)
			p.says(p.stdout, "Running job", 1)
			p.signal(syscall.SIGINT)
		}},
		"registration-deleted": {jit: true, setup: fault(faultRegistrationDeleted, "")},
		"clock-skew":           {jit: true, setup: fault(faultClockSkew, "")},
		"runner-not-found": {jit: true, act: func(p *process) {
			p.awaitPolling()
			if _, err := p.gh.world.unregister("repos/o/r", 1, time.Now()); err != nil {
				p.Error(err)
			}
		}},
		"ghost-job": {jit: true, setup: fault(faultGhostJob, ""), act: func(p *process) {
			finish(p)
			p.diagSays("Skipping message Job.")
			interrupt(p)
		}},
		"deaf": {jit: true, setup: fault(faultDeaf, ""), act: func(p *process) {
			finish(p)
			p.diagSays("Acknowledging runner request '1'.")
			p.await("job requeued", func(s State) bool { return len(s.Queued) == 1 })
			p.signal(syscall.SIGINT)
		}},
		"renew-lost":     {jit: true, setup: fault(faultRenewLost, ""), act: func(p *process) { p.queue("long", time.Hour, "Succeeded") }},
		"listener-crash": {jit: true, setup: fault(faultListenerCrash, ""), act: func(p *process) { p.queue("long", time.Hour, "Succeeded") }},
		"listener-crash-1": {jit: true, setup: fault(faultListenerCrash, "1"), act: func(p *process) {
			p.queue("long", time.Hour, "Succeeded")
		}},
		"sigint-idle":  {jit: true, act: interrupt},
		"sigterm-idle": {jit: true, act: func(p *process) { p.awaitPolling(); p.signal(syscall.SIGTERM) }},
		"sigint-busy": {jit: true, act: func(p *process) {
			p.queue("long", time.Hour, "Succeeded")
			p.diagSays("Send job request message")
			p.signal(syscall.SIGINT)
		}},
		"sigterm-busy-hung-worker": {jit: true, setup: fault(faultWorkerHang, ""), act: func(p *process) {
			p.queue("long", time.Hour, "Succeeded")
			p.diagSays("Send job request message")
			p.signal(syscall.SIGTERM)
		}},
		"ignore-sigint": {jit: true, setup: fault(faultIgnoreSigint, ""), act: func(p *process) {
			p.awaitPolling()
			p.signal(syscall.SIGINT)
			p.signal(syscall.SIGQUIT)
			finish(p)
		}},
		"retry-loop": {jit: true, act: func(p *process) {
			p.awaitPolling()
			p.fault(faultRetryLoop, true, "")
			p.says(p.stderr, "Retrying until reconnected.", 1)
			p.await("offline", func(s State) bool { return s.Registrations[0].Status == "offline" })
			p.signal(syscall.SIGINT)
		}},
		"retry-loop-busy": {jit: true, setup: fault(faultRetryLoop, "busy"), act: func(p *process) {
			p.queue("build", time.Second, "Succeeded")
			p.says(p.stderr, "Retrying until reconnected.", 1)
		}},
	}
	for _, title := range slices.Sorted(maps.Keys(scenarios)) {
		t.Run(title, func(t *testing.T) {
			t.Parallel()
			b, s := newTestGitHub(t), scenarios[title]
			if s.setup != nil {
				s.setup(b)
			}
			jit := ""
			if s.jit {
				jit = b.jit(name)
			}
			p := b.start("", jit, s.env...)
			if s.act != nil {
				s.act(p)
			}
			code := p.wait()
			out, _ := p.stdout.look()
			errs, _ := p.stderr.look()
			if head, tail, ok := strings.Cut(errs, s.once); ok && s.once != "" {
				errs = head + s.once + strings.ReplaceAll(tail, s.once, "")
			}
			var files []string
			for _, name := range []string{fileRunner, fileCredentials, fileRSAParams} {
				if fi, err := os.Stat(filepath.Join(p.root, name)); err == nil {
					files = append(files, fmt.Sprintf("%s %o\n", name, fi.Mode().Perm()))
				}
			}
			got := fmt.Sprintf("-- exit --\n%d\n-- stdout --\n%s-- stderr --\n%s-- files --\n%s",
				code, normalise(out), normalise(errs), strings.Join(files, ""))
			golden := filepath.Join("testdata", "listener", title+".txt")
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("transcript (-want +got); if it is right: make generate\n%s\ndiagnostics:\n%s", diff, p.diag("Runner"))
			}
		})
	}
}

// The retry loop belongs to one process: the next one works, unless the fault is sticky.
func TestNextListenerWorksAfterRetryLoop(t *testing.T) {
	t.Parallel()
	b := newTestGitHub(t)
	first := b.start("", b.jit(name))
	b.awaitPolling()
	b.fault(faultRetryLoop, true, "")
	first.says(first.stderr, "Retrying until reconnected.", 1)
	first.signal(syscall.SIGKILL)
	first.wait()
	b.await("session ended", func(s State) bool { return s.Registrations[0].Session == nil })

	second := b.start(first.root, b.jit(slot+"-def"))
	b.queue("build", 0, "Succeeded")
	if code := second.wait(); code != 0 {
		t.Errorf("second listener: exit %d", code)
	}
	if st := b.gh.State(); len(st.Completed) != 1 || st.Completed[0].Slot != slot || st.Completed[0].Runner != slot+"-def" {
		t.Errorf("completed %+v", st.Completed)
	}

	b.fault(faultRetryLoop, true, "sticky")
	for _, name := range []string{slot + "-ghi", slot + "-jkl"} {
		p := b.start(first.root, b.jit(name))
		p.says(p.stderr, "Retrying until reconnected.", 1)
		p.signal(syscall.SIGKILL)
		p.wait()
	}
	b.fault(faultRetryLoop, false, "")
	last := b.start(first.root, b.jit(slot+"-mno"))
	b.queue("build", 0, "Failed")
	if code := last.wait(); code != 0 {
		t.Errorf("last listener: exit %d", code)
	}
	if st := b.gh.State(); st.CompletedTotal["Failed"] != 1 {
		t.Errorf("totals %v", st.CompletedTotal)
	}
}

// A JIT configuration can be used for one job only.
func TestJITConfigurationWorksOnce(t *testing.T) {
	t.Parallel()
	b := newTestGitHub(t)
	jit := b.jit(name)
	first := b.start("", jit)
	b.queue("build", 0, "Succeeded")
	if code := first.wait(); code != 0 {
		t.Fatalf("exit %d", code)
	}
	if st := b.gh.State(); len(st.Registrations) != 0 {
		t.Errorf("the registration was not removed: %+v", st.Registrations)
	}
	second := b.start(first.root, jit)
	if code := second.wait(); code != exitTerminated {
		t.Errorf("second use: exit %d, want %d", code, exitTerminated)
	}
	if text, _ := second.stderr.look(); !strings.Contains(text, "has been deleted from the server") {
		t.Errorf("second use said %q", text)
	}
	if !strings.Contains(first.diag("Worker"), "Job completed.") {
		t.Error("the worker left no diagnostic log")
	}
}

// With a worker that never ends, SIGINT does not end the listener; only SIGKILL of the group ends
// both.
func TestHungWorkerSurvivesSIGINT(t *testing.T) {
	t.Parallel()
	b := newTestGitHub(t)
	b.fault(faultWorkerHang, true, "")
	p := b.start("", b.jit(name))
	b.queue("long", 0, "Succeeded")
	p.diagSays("Waiting to receive the job message")
	p.signal(syscall.SIGINT)
	p.says(p.stdout, "Exiting...", 1)
	if line := children(t, p.cmd.Process.Pid); !strings.Contains(line, "Runner.Worker spawnclient") {
		t.Errorf("the worker's command line is %q", line)
	}
	if err := p.cmd.Process.Signal(syscall.Signal(0)); err != nil {
		t.Errorf("the listener ended: %v", err)
	}
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	if code := p.wait(); code != 137 {
		t.Errorf("exit %d", code)
	}
}

// A cancellation by GitHub ends a job, even if its worker hangs.
func TestCancellationEndsJob(t *testing.T) {
	t.Parallel()
	for _, hang := range []bool{false, true} {
		t.Run(fmt.Sprintf("hang=%v", hang), func(t *testing.T) {
			t.Parallel()
			b := newTestGitHub(t)
			b.fault(faultWorkerHang, hang, "")
			p := b.start("", b.jit(name))
			lab := NewClient(b.url)
			if err := lab.Cancel(t.Context(), 1); err == nil {
				t.Error("a job that does not run was canceled")
			}
			b.queue("long", time.Hour, "Succeeded")
			p.diagSays("Waiting to receive the job message")
			if err := lab.Cancel(t.Context(), 1); err != nil {
				t.Fatal(err)
			}
			if code := p.wait(); code != 0 {
				t.Errorf("exit %d", code)
			}
			p.says(p.stdout, "Job long completed with result: Canceled", 1)
			if done := b.gh.State().Completed; len(done) != 1 || done[0].Result != "Canceled" {
				t.Errorf("GitHub's books: %+v", done)
			}
			if killed := strings.Contains(p.diag("Runner"), "kill running worker"); killed != hang {
				t.Errorf("the worker was killed: %v", killed)
			}
		})
	}
}

// children returns the command lines of a process's children, from all its threads.
func children(t *testing.T, pid int) string {
	t.Helper()
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, list := range lists {
		b, err := os.ReadFile(list)
		if err != nil {
			continue // a thread that has ended
		}
		for child := range strings.FieldsSeq(string(b)) {
			line, err := os.ReadFile("/proc/" + child + "/cmdline")
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return strings.Join(all, "\n")
}

type answer struct {
	status int
	header http.Header
	text   string
}

// request makes one call with the right token and decodes the answer into out unless that is nil.
func (b *testGitHub) request(method, path, body string, header http.Header, out any) answer {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+testToken)
	req.Header.Set("User-Agent", "test")
	maps.Copy(req.Header, header)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		b.Fatal(err)
	}
	if out != nil {
		if err := decode(text, out); err != nil {
			b.Fatalf("%s %s: %v: %s", method, path, err, text)
		}
	}
	return answer{resp.StatusCode, resp.Header, string(text)}
}

// TestJobScripts runs jobs with scripts: in the workspace, with only the listener's environment,
// failing if the script fails, and ending although a background process runs on.
func TestJobScripts(t *testing.T) {
	for name, c := range map[string]struct{ script, result, says string }{
		"succeeds":         {`echo "in ${PWD##*/_work/} with $HINT"`, "Succeeded", "in lab/lab with a hint"},
		"fails":            {"echo before\nfalse\necho after", "Failed", "before"},
		"leaves a process": {"setsid sleep 60 & echo left $!", "Succeeded", "left "},
	} {
		t.Run(name, func(t *testing.T) {
			b := newTestGitHub(t)
			if _, err := NewClient(b.url).Enqueue(t.Context(), JobRequest{Duration: "0s", Script: c.script}); err != nil {
				t.Fatal(err)
			}
			p := b.start("", b.jit("ci-runner-1-abc"), "HINT=a hint", "ACTIONS_RUNNER_PRINT_LOG_TO_STDOUT=1")
			p.says(p.stdout, "completed with result: "+c.result, 1)
			p.says(p.stdout, "Worker] "+c.says, 1)
			out, _ := p.stdout.look()
			if strings.Contains(out, "after") {
				t.Errorf("the script went on after a command that failed:\n%s", out)
			}
			if left := regexp.MustCompile(`\bleft (\d+)\n`).FindStringSubmatch(out); left != nil {
				pid, _ := strconv.Atoi(left[1])
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		})
	}
}
