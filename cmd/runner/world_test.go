package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/blueguy23/ghostrunner/internal/supervisor"
)

// TestSurroundings has faults of GitHub, the token and the machine.
func TestSurroundings(t *testing.T) {
	for _, sc := range []scenario{
		{name: "token rejected while listening",
			play: func(s *slot) { polling(s); s.fault("pat-rejected", "") },
			// Under this name, and only after GitHub has said so twice.
			phase: supervisor.Listening, health: "un: listening, pat_invalid: GitHub rejects the token",
			after: func(s *slot) {
				s.clearFault("pat-rejected")
				s.await("health", func() bool { words, healthy := s.health(); return healthy && words == "listening, GitHub: online" })
			},
			calls: "register 201, delete 204"},
		{name: "token rejected from the start", setup: fault("pat-rejected", ""),
			play:  func(s *slot) { s.says("cause=pat_invalid failures=1", 1) },
			phase: supervisor.Waiting, health: "un: pat_invalid",
			after:  func(s *slot) { s.clearFault("pat-rejected"); s.says(registered, 1) },
			prints: []string{`msg=Preflight problem=".*Bad credentials" remedy="GitHub rejects the token`, `cause=pat_invalid failures=1 .*remedy="GitHub rejects the token.*read again before each use"`, "^" + registered},
			calls:  "(register 401, )+register 201, delete 204"},
		{name: "token without the right to register", setup: fault("pat-no-permission", "read-only"),
			play:  func(s *slot) { s.says("cause=pat_permission failures=1", 1) },
			phase: supervisor.Waiting, health: "un: pat_permission",
			after:  func(s *slot) { s.clearFault("pat-no-permission"); s.says(registered, 1) },
			prints: []string{`cause=pat_permission failures=1 .*remedy="give the token the permission that GitHub asks for: administration=write"`, "^" + registered},
			calls:  "(register 403, )+register 201, delete 204"},
		{name: "no such repository, says GitHub", setup: fault("pat-no-permission", "hidden"),
			play:  func(s *slot) { s.says(`cause="github: not_found" failures=1`, 1) },
			phase: supervisor.Waiting, health: "waiting, . failures in a row: github: not_found",
			after:  func(s *slot) { s.clearFault("pat-no-permission"); s.says(registered, 1) },
			prints: []string{`failures=1 .*remedy="octo/hello does not exist, or the token may not see it`},
			calls:  "(register 404, )+register 201, delete 204"},
		{name: "GitHub refuses the registration as such", setup: fault("jit-422", ""),
			play:  func(s *slot) { s.says(`cause="github: invalid" failures=2`, 1) },
			phase: supervisor.Waiting, health: "waiting, . failures in a row: github: invalid",
			after: func(s *slot) {
				s.clearFault("jit-422")
				s.says(registered, 1)
				// One try in each attempt, and no search for a registration, because GitHub
				// refused.
				_, stderr, _ := s.out.read()
				tries, failures := strings.Count(s.calls(), "register 422"), strings.Count(stderr, `msg="Attempt failed" cause="github: invalid"`)
				if tries != failures {
					t.Errorf("%d registrations were tried in %d attempts", tries, failures)
				}
			},
			prints: []string{`cause="github: invalid" failures=1 .*remedy="GitHub does not accept this registration: check the labels and the runner group`, "failures=2", "^" + registered},
			calls:  "(register 422, ){2,}register 201, delete 204"},
		{name: "GitHub answers 500: five failures in a row", setup: fault("github-500", ""),
			play:  func(s *slot) { s.says("failures=5", 1) },
			phase: supervisor.Waiting, health: `un: github: server \([5-9] failures in a row\)`,
			after:  func(s *slot) { s.clearFault("github-500"); s.says(registered, 1) },
			prints: []string{`cause="github: server" failures=1 .*remedy="GitHub has a problem`, "failures=5", "^" + registered},
			calls:  "(register 500, ){5,}register 201, delete 204"},
		{name: "GitHub answers 500 while listening",
			play: func(s *slot) {
				polling(s)
				s.fault("github-500", "")
				s.await("GitHub to be unreachable", func() bool { return s.now().GitHub.Answer == "unreachable" && s.now().GitHub.Repeats >= 3 })
			},
			phase: supervisor.Listening, health: "listening, GitHub: unreachable", // the session is as good as ever
			after:  func(s *slot) { s.clearFault("github-500"); s.job("build", "0s", "Succeeded"); s.says(registered, 2) },
			prints: []string{changedTo("job completed: Succeeded")}, calls: "register 201, register 201, delete 204"},
		{name: "GitHub is not reachable when the slot is to stop",
			play:  func(s *slot) { polling(s); s.fault("github-500", "") },
			phase: supervisor.Listening, health: "listening",
			prints: []string{"GitHub does not say whether the runner is idle", stopped, "to=stopped"},
			calls:  "register 201(, delete 500)+", left: 1, pending: 1},
		{name: "the name is taken", setup: fault("jit-409", ""),
			play:  func(s *slot) { s.says("failures=1", 1); s.clearFault("jit-409"); s.says(registered, 1) },
			phase: supervisor.Listening, health: "listening",
			calls: "(register 409, )+register 201, delete 204"},
		{name: "GitHub sees the slot offline: its connection is dead",
			play:  func(s *slot) { polling(s); s.fault("retry-loop", "") },
			phase: supervisor.Listening, health: "un: listening, but GitHub says: offline",
			calls: "register 201, delete 204"},
		{name: "the listener is killed",
			play:  func(s *slot) { polling(s); s.kill("Runner.Listener", syscall.SIGKILL); s.says(registered, 2) },
			phase: supervisor.Listening, health: "listening",
			prints: []string{"^Runner listener exited with code 137.$", changedTo("killed by signal 9")},
			calls:  "register 201, delete 204, register 201, delete 204"},
		{name: "the worker is killed",
			play: func(s *slot) {
				s.says(registered, 1)
				s.job("build", "1h", "Succeeded")
				s.await("the worker", func() bool { return slices.Contains(s.processes(), "Runner.Worker") })
				s.kill("Runner.Worker", syscall.SIGKILL)
				s.says(registered, 2)
			},
			phase: supervisor.Listening, health: "listening", jobs: 1,
			prints: []string{ts + "Job build completed with result: Failed$", changedTo("job completed: Failed")},
			calls:  "register 201, register 201, delete 204"},
		{name: "the supervisor is killed, and started again",
			play: func(s *slot) {
				polling(s)
				s.signal(syscall.SIGKILL)
				_ = s.cmd.Wait()
				s.start("")
				s.says(registered, 2)
			},
			phase: supervisor.Listening, health: "listening",
			calls: "register 201, delete 204, register 201, delete 204"}, // the first life's, before anything else
	} {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			sc.run(t)
		})
	}
}

// TestPreflight runs the command with and without problems.
func TestPreflight(t *testing.T) {
	t.Parallel()
	s := newSlot(t)
	docker := filepath.Join(s.root, "docker.sock")
	listener, err := new(net.ListenConfig).Listen(t.Context(), "unix", docker)
	if err != nil {
		t.Fatal(err)
	}
	var status atomic.Int32
	status.Store(http.StatusOK)
	engine := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/_ping" {
			t.Errorf("the engine was asked for %s", r.URL.Path)
		}
		w.WriteHeader(int(status.Load()))
	})}
	go func() { _ = engine.Serve(listener) }()
	t.Cleanup(func() { _ = engine.Shutdown(context.WithoutCancel(t.Context())) })
	if err := errors.Join(os.Chown(docker, 0, 4711), os.Chmod(docker, 0o660)); err != nil { // the job's user gets its group
		t.Fatal(err)
	}
	args := []string{"preflight", "--runner.root=" + s.root, "--docker.socket=" + docker}
	expect := func(what string, wants ...string) {
		t.Helper()
		text, code := s.command(args...)
		if (code == 0) != (wants == nil) || strings.Count(text, "✗") != len(wants) {
			t.Errorf("%s: exit %d\n%s", what, code, text)
		}
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", what, want, text)
			}
		}
	}
	expect("all is well")
	if calls := s.calls(); calls != "POST /repos/octo/hello/actions/runners/registration-token" || len(s.gh.State().Registrations) != 0 {
		t.Errorf("GitHub was asked: %s", calls)
	}
	s.fault("pat-no-permission", "read-only")
	expect("may not register", "give the token the permission that GitHub asks for: administration=write")
	s.clearFault("pat-no-permission")
	s.fault("pat-rejected", "")
	status.Store(http.StatusServiceUnavailable)
	expect("rejected, and no engine", "GitHub rejects the token", "_ping answers 503 Service Unavailable")
	s.clearFault("pat-rejected")
	if err := os.Chown(docker, 0, 0); err != nil {
		t.Fatal(err)
	}
	expect("root's own socket", "whose group is root\n  → on the host: chgrp docker")
}
