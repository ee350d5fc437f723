package main

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/blueguy23/ghostrunner/internal/lab"
	"github.com/blueguy23/ghostrunner/internal/supervisor"
)

// scenario is one behavior of a listener and its surroundings, and the effect on the slot.
type scenario struct {
	name   string
	setup  func(s *slot)
	before string // shell text that the process that becomes the supervisor runs first
	// play brings the slot to the point at which the next three fields are checked.
	play   func(s *slot)
	phase  supervisor.Phase
	health string // what Docker's health says then, as a pattern; "un: …" if it says unhealthy
	jobs   uint64
	// after continues from there. Then the slot gets SIGTERM, unless it has ended.
	after func(s *slot)
	held  bool // it drains for ever, because it holds a job that does not end: Docker's grace period ends it

	prints  []string // patterns, in this order, over the whole life
	calls   string   // pattern of what GitHub was asked to change
	left    int      // registrations that are left at GitHub; -1: any number, if Docker had to kill, or GitHub still has a job
	pending int      // deletions that the next start has to make up for
}

const (
	ts         = `^\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ: `
	registered = "Runner registered. Waiting for a job..."
	// The drain deletes the registration first, and GitHub may tell the listener before our signal.
	stopped = `^(Exiting\.\.\.|The runner no longer exists on the server\. Cleaning up local configuration\.)$`
	retries = ts + `Runner connect error: .*\. Retrying until reconnected\.$`
)

func changedTo(cause string) string { return `to=\w+ cause="?` + cause }

// fault returns a setup.
func fault(name, value string) func(*slot) { return func(s *slot) { s.fault(name, value) } }

// polling waits until the slot listens and GitHub holds a poll of it, under the container's name.
func polling(s *slot) {
	s.Helper()
	s.says(registered, 1)
	s.await("a poll", func() bool {
		return slices.ContainsFunc(s.gh.State().Registrations, func(r lab.RegistrationState) bool {
			return r.Session != nil && r.Session.Polling && strings.HasPrefix(r.Name, "ci-runner-1-")
		})
	})
}

// TestScenarios is a numbered list of what listeners have done, with the real program. It checks
// the output, the state, Docker's health, the changes at GitHub, and what is left on the disk, in
// the process table and at GitHub.
func TestScenarios(t *testing.T) {
	for _, sc := range []scenario{
		{name: "1 just-in-time configuration",
			play: func(s *slot) {
				s.says(registered, 1)
				for _, name := range []string{".runner", ".credentials", ".credentials_rsaparams"} {
					data, err := os.ReadFile(filepath.Join(s.root, name))
					if err != nil || !strings.HasPrefix(string(data), "\ufeff{") {
						s.Errorf("%s: %v, %.20q", name, err, data)
					}
				}
				// The configuration contains the key: it must not be visible in ps or in a child's
				// environment.
				paths, _ := filepath.Glob(s.proc() + "/[0-9]*/cmdline")
				for _, path := range paths {
					if data, _ := os.ReadFile(path); strings.Contains(string(data), base64.StdEncoding.EncodeToString([]byte(`{".cred`))[:8]) {
						s.Errorf("the configuration is on a command line: %q", data)
					}
				}
			},
			phase: supervisor.Listening, health: "listening",
			prints: []string{"^√ Connected to GitHub$", "^Current runner version: '2.336.0'$", ts + "Listening for Jobs$", "^" + registered},
			calls:  "register 201, delete 204"},
		{name: "2 normal jobs, each result and nasty names",
			play: func(s *slot) {
				for i, result := range lab.Results() {
					name := []string{"build (linux)", `x completed with result: Failed`, "[RUNNER ü√ \"'", "Running job: x", strings.Repeat("long ", 2000), "Listening for Jobs"}[i]
					s.says(registered, i+1)
					s.job(name, "0s", result)
				}
				s.says(registered, 7)
			},
			phase: supervisor.Listening, health: "listening", jobs: 6,
			prints: []string{ts + `Running job: build \(linux\)$`, ts + `Job build \(linux\) completed with result: Succeeded$`, "^√ Removed .credentials$", "^√ Removed .runner$",
				"^Runner listener exited with code 0.$", "^" + registered, changedTo("job completed: SucceededWithIssues"), changedTo("job completed: Failed"),
				changedTo("job completed: Canceled"), changedTo("job completed: Skipped"), changedTo("job completed: Abandoned")},
			// GitHub removes a registration after its job, but perhaps not if the lock was lost.
			calls: "(register 201, ){6}(delete 404, )?register 201, delete 204"},
		{name: "3a a job without a completed line: killed", setup: fault("listener-crash", ""),
			play: func(s *slot) {
				s.says(registered, 1)
				s.job("build", "1h", "Succeeded")
				s.says(changedTo("job without a result: killed by signal 9")[len(`to=\w+ cause="?`):], 1)
				s.clearFault("listener-crash")
				s.says(registered, 2)
			},
			phase: supervisor.Listening, health: "listening",
			prints: []string{ts + "Running job: build$", "^Runner listener exited with code 137.$", changedTo("job without a result: killed by signal 9")},
			// GitHub still has the job: the registration ends with its lock, or as a stale one.
			calls: "register 201, delete 422, register 201, (delete 204, )*delete 204", left: -1},
		{name: "3b a job without a completed line: exit 1", setup: fault("listener-crash", "1"),
			play: func(s *slot) {
				s.says(registered, 1)
				s.job("build", "1h", "Succeeded")
				s.says("job without a result: exit code 1", 1)
				s.clearFault("listener-crash")
				s.says(registered, 2)
			},
			phase: supervisor.Listening, health: "listening",
			prints: []string{ts + "Running job: build$", "^Runner listener exited with code 1.$", changedTo("job without a result: exit code 1")},
			calls:  "register 201, delete 422, register 201, (delete 204, )*delete 204", left: -1},
		{name: "3c a job without a completed line: silence", setup: fault("deaf", "job"),
			play: func(s *slot) {
				s.says(registered, 1)
				s.job("build", "0s", "Succeeded")
				s.says("Running job: build", 2) // and in the diagnostic line
				s.await("the phase", func() bool { return s.now().Phase == supervisor.Job })
				if words, healthy := s.health(); !healthy || words != "job" {
					s.Errorf("health until the listener counts as stuck: %v, %q", healthy, words)
				}
				s.clearFault("deaf")
				s.says(registered, 2)
			},
			phase: supervisor.Listening, health: "listening",
			prints: []string{ts + "Running job: build$", `Stopping a listener that is stuck" why="it announced a job, and no worker has run since"`, changedTo("job without a result"), "^" + registered},
			// Not before the lock on the job has ended: then GitHub has no registration either.
			calls: "register 201, (delete 422, )*delete 404, register 201, delete 204"},
		{name: "3d the same while it drains", setup: fault("deaf", "job"),
			play: func(s *slot) {
				s.says(registered, 1)
				s.job("build", "0s", "Succeeded")
				s.says("Running job: build", 2)
				s.await("the phase", func() bool { return s.now().Phase == supervisor.Job })
			},
			phase: supervisor.Job, health: "job",
			prints: []string{"from=job to=draining", "^Exiting...$", `from=draining to=stopped cause="last job ended`},
			calls:  "register 201, (delete 422, )+(delete 404(, )?)+"},
		{name: "4 no session: GitHub's sessions are down", setup: fault("create-outage", ""),
			play: func(s *slot) { s.says("√ Connected to GitHub", 4) }, phase: supervisor.Connecting, health: "connecting",
			after: func(s *slot) {
				s.clearFault("create-outage")
				s.says(registered, 1)
			},
			prints: []string{"^√ Connected to GitHub$", retries, ts + "Runner reconnected.$", ts + "Listening for Jobs$", "^" + registered},
			calls:  "register 201, delete 204"},
		{name: "5 poll outages, older protocol",
			play: func(s *slot) {
				for i := range 2 {
					polling(s)
					s.fault("poll-outage-v1", "")
					s.says("Retrying until reconnected.", 2*(i+1))
					s.clearFault("poll-outage-v1")
					s.says("Runner reconnected.", 2*(i+1))
				}
			},
			phase: supervisor.Listening, health: "listening",
			after:  func(s *slot) { s.job("build", "0s", "Succeeded"); s.says(registered, 2) },
			prints: []string{retries, ts + "Runner reconnected.$", retries, ts + "Runner reconnected.$", changedTo("job completed: Succeeded")},
			calls:  "register 201, register 201, delete 204"},
		{name: "6 poll outage, broker: the tenth error ends the process",
			play: func(s *slot) {
				polling(s)
				s.fault("poll-outage-v2", "")
				s.says(`cause="An error occurred`, 1)
				s.clearFault("poll-outage-v2")
				s.says(registered, 2)
			},
			phase: supervisor.Listening, health: "listening",
			prints: []string{retries, "^An error occurred: ", "^Runner listener exited with code 2.$", changedTo("An error occurred"), "^" + registered},
			calls:  "register 201, delete 204, register 201, delete 204"},
		{name: "7a session conflict until the listener gives up", setup: fault("session-conflict", ""),
			play: func(s *slot) {
				s.says(`cause=session_conflict`, 1)
				s.clearFault("session-conflict")
				s.says(registered, 1)
			},
			phase: supervisor.Listening, health: "listening",
			prints: []string{"^A session for this runner already exists.$", retries, "^Stop retry on SessionConflictException", "^Runner listener exited with code 5.$", changedTo("session_conflict"), "^" + registered},
			calls:  "register 201, delete 204, register 201, delete 204"},
		{name: "7b session conflict that clears", setup: fault("session-conflict", ""),
			play: func(s *slot) {
				s.says("A session for this runner already exists.", 2)
				s.clearFault("session-conflict")
				s.says(registered, 1)
			},
			phase: supervisor.Listening, health: "listening",
			prints: []string{"^A session for this runner already exists.$", "^" + registered},
			calls:  "(register 201, delete 204, )?register 201, delete 204"},
		{name: "8a version deprecated", setup: fault("version-deprecated", ""),
			play: func(s *slot) { s.says("to=waiting cause=version_deprecated", 2) }, phase: supervisor.Waiting, health: "un: version_deprecated",
			prints: []string{ts + "Listening for Jobs$", "^An error occurred: Runner version v2.336.0 is deprecated and cannot receive messages.$",
				"^Runner listener exited with code 7.$", `cause=version_deprecated failures=1 .*remedy=".*newer RUNNER_VERSION"`},
			calls: "(register 201, delete 204, )+register 201, delete 204"},
		{name: "8b version deprecated, an old listener", setup: fault("version-deprecated", "old"),
			play: func(s *slot) { s.says("to=waiting cause=version_deprecated", 1) }, phase: supervisor.Waiting, health: "un: version_deprecated",
			prints: []string{"^An error occur?ed: Runner version", "^Runner listener exited with code 1.$", changedTo("version_deprecated")},
			calls:  "(register 201, delete 204(, )?)+"},
		{name: "8c version deprecated, no session", setup: fault("version-deprecated", "session"),
			play: func(s *slot) { s.says("to=waiting cause=version_deprecated", 1) }, phase: supervisor.Waiting, health: "un: version_deprecated",
			prints: []string{"^Failed to create session. Runner version", "^Runner listener exited with code 1.$", changedTo("version_deprecated")},
			calls:  "(register 201, delete 204(, )?)+"},
		{name: "9 registration deleted", setup: fault("registration-deleted", ""),
			play: func(s *slot) {
				s.says("to=waiting cause=registration_deleted", 1)
				s.clearFault("registration-deleted")
				s.says(registered, 1)
			},
			phase: supervisor.Listening, health: "listening",
			prints: []string{"^√ Connected to GitHub$", "^Failed to create a session. The runner registration has been deleted from the server, please re-configure.",
				"^Runner listener exited with code 1.$", changedTo("registration_deleted"), "^" + registered},
			calls: "(register 201, delete 204, )+register 201, delete 204"},
		{name: "10a clock skew as older servers say it", setup: fault("clock-skew", ""),
			play: func(s *slot) {
				s.says("to=waiting cause=clock_skew", 1)
				s.clearFault("clock-skew")
				s.says(registered, 1)
			},
			phase: supervisor.Listening, health: "listening",
			prints: []string{"^The local machine's clock may be out of sync", "^Stopped retrying OAuth token request exception after 1800 seconds.$", "^Runner listener exited with code 1.$", changedTo("clock_skew"), "^" + registered},
			calls:  "(register 201, delete 204, )+register 201, delete 204"},
		{name: "10b clock skew that looks like a deleted registration",
			setup: func(s *slot) {
				s.fault("registration-deleted", "")
				s.fault("github-date", "-600") // our clock is ten minutes ahead of GitHub's
			},
			play: func(s *slot) {
				s.says("msg=Waiting cause=clock_skew", 1)
				s.await("the state", func() bool { return s.now().Blocked == supervisor.CauseClockSkew })
			},
			phase: supervisor.Waiting, health: "waiting for .*: clock_skew",
			after: func(s *slot) {
				if calls := s.calls(); calls != "" {
					s.Errorf("with a clock that is off GitHub was asked: %s", calls)
				}
				s.clearFault("github-date")
				s.clearFault("registration-deleted")
				s.says(registered, 1)
			},
			prints: []string{`msg=Waiting cause=clock_skew detail="the local clock is \S+ ahead by GitHub" remedy="set the clock`, "to=registering", "^" + registered},
			calls:  "register 201, delete 204"},
		{name: "11 the registration is gone while polling: exit 0 is no job",
			play: func(s *slot) {
				polling(s)
				s.request(http.MethodDelete, fmt.Sprintf("/repos/octo/hello/actions/runners/%d", s.now().ID), nil)
				s.says(registered, 2)
			},
			phase: supervisor.Listening, health: "listening",
			prints: []string{"^The runner no longer exists on the server. Cleaning up local configuration.$", "^√ Removed .credentials$", "^Runner listener exited with code 0.$", changedTo("registration_deleted"), "^" + registered},
			calls:  "register 201, delete 204, delete 404, register 201, delete 204"}, // the first is the test's own
		{name: "12 ghost: a job that cannot be acquired", setup: fault("ghost-job", ""),
			play: func(s *slot) {
				s.says(registered, 1)
				s.job("build", "0s", "Succeeded")
				s.says("Skipping message Job.", 1)
				s.clearFault("ghost-job")
				s.says(registered, 2)
			},
			phase: supervisor.Listening, health: "listening",
			prints: []string{`\[RUNNER .* Runner\] Skipping message Job.`, `Stopping a listener that is stuck" why="its job could not be acquired"`, changedTo("its job could not be acquired"), "^" + registered},
			calls:  "register 201, (delete 422, )*delete 204, register 201, delete 204"},
		{name: "13a deaf, and SIGINT works", setup: fault("deaf", ""),
			play: func(s *slot) {
				s.says(registered, 1)
				s.job("build", "0s", "Succeeded")
				s.says("Stopping a listener that is stuck", 1)
				s.clearFault("deaf")
				s.says(registered, 3) // the job went back to the queue, and the next listener has done it
			},
			phase: supervisor.Listening, health: "listening", jobs: 1,
			prints: []string{"Acknowledging runner request", stopped, "^Runner listener exited with code 0.$", ts + "Running job: build$",
				`Stopping a listener that is stuck" why="it was handed a job and did not start it"`, changedTo("handed a job that it did not start: exit code 0"), changedTo("job completed: Succeeded")},
			calls: "register 201, delete 204, register 201, register 201, delete 204"},
		{name: "13b deaf, and SIGINT does not work", setup: func(s *slot) { s.fault("deaf", ""); s.fault("ignore-sigint", "") },
			play: func(s *slot) {
				s.says(registered, 1)
				s.job("build", "0s", "Succeeded")
				s.says("Stopping a listener that is stuck", 1)
				s.clearFault("deaf")
				s.says(registered, 3)
				s.clearFault("ignore-sigint")
			},
			phase: supervisor.Listening, health: "listening", jobs: 1,
			prints: []string{"^Runner listener exited with code 137.$", changedTo("handed a job that it did not start: killed by signal 9"), changedTo("job completed: Succeeded")},
			calls:  "register 201, delete 204, register 201, register 201, delete 204"},
		{name: "14 outage while busy: the job is abandoned", setup: fault("renew-lost", ""),
			play: func(s *slot) {
				s.says(registered, 1)
				s.job("build", "1h", "Succeeded")
				s.says(registered, 2)
			},
			phase: supervisor.Listening, health: "listening", jobs: 1,
			prints: []string{ts + "Job build completed with result: Abandoned$", "^Runner listener exited with code 0.$", changedTo("job completed: Abandoned")},
			calls:  "register 201, delete 404, register 201, delete 204"},
		{name: "15a SIGINT while idle: the drain", play: polling, phase: supervisor.Listening, health: "listening",
			prints: []string{"from=listening to=draining cause=\"asked to stop\"", stopped, "^Runner listener exited with code 0.$", `from=draining to=stopped cause="idle, exit code 0"`},
			calls:  "register 201, delete 204"},
		{name: "15b somebody ends the listener with SIGTERM",
			play: func(s *slot) {
				polling(s)
				s.kill("Runner.Listener", syscall.SIGTERM)
				s.says(registered, 2)
			},
			phase: supervisor.Listening, health: "listening",
			prints: []string{"^Runner listener exited with code 143.$", changedTo("exit code 143"), "^" + registered},
			calls:  "register 201, delete 204, register 201, delete 204"},
		{name: "16a SIGTERM of the slot while busy: the job is finished",
			play: func(s *slot) {
				s.says(registered, 1)
				s.job("build", "3s", "Succeeded")
				s.await("the worker", func() bool { return slices.Contains(s.processes(), "Runner.Worker") })
			},
			phase: supervisor.Job, health: "job running",
			after: func(s *slot) {
				s.signal(syscall.SIGTERM)
				s.says("to=draining", 1)
				if words, healthy := s.health(); !healthy || words != "job running" {
					s.Errorf("health while draining: %v, %q", healthy, words)
				}
			},
			prints: []string{"from=job to=draining", ts + "Job build completed with result: Succeeded$", `from=draining to=stopped cause="last job ended, exit code 0"`},
			calls:  "register 201(, delete 422)+(, delete 404)?"},
		{name: "16b somebody interrupts the listener while busy",
			play: func(s *slot) {
				s.says(registered, 1)
				s.job("build", "1h", "Succeeded")
				s.says("Send job request message", 1)
				s.kill("Runner.Listener", syscall.SIGINT)
				s.says(registered, 2)
			},
			phase: supervisor.Listening, health: "listening", jobs: 1,
			prints: []string{"^Exiting...$", ts + "Job build completed with result: Canceled$", changedTo("job completed: Canceled")},
			calls:  "register 201, register 201, delete 204"},
		{name: "16c a worker that never ends", setup: fault("worker-hang", ""),
			play: func(s *slot) {
				s.says(registered, 1)
				s.job("build", "1h", "Succeeded")
				s.await("the worker", func() bool { return slices.Contains(s.processes(), "Runner.Worker") })
			},
			phase: supervisor.Job, health: "job running", held: true,
			prints: []string{"from=job to=draining"}, calls: "register 201, (delete 422(, )?)+", left: -1},
		{name: "17 SIGINT was ignored before the supervisor",
			play: func(s *slot) {
				polling(s)
				status, err := os.ReadFile(filepath.Join(s.proc(), strconv.Itoa(s.now().PID), "status"))
				if err != nil || !regexp.MustCompile(`(?m)^SigIgn:\t[0-9a-f]*[0189]$`).Match(status) { // the bits of SIGINT and SIGQUIT are 2 and 4
					s.Errorf("the listener ignores signals: %v\n%s", err, status)
				}
			}, phase: supervisor.Listening, health: "listening",
			before: "trap '' INT QUIT;",
			prints: []string{stopped, "^Runner listener exited with code 0.$", `to=stopped cause="idle, exit code 0"`},
			calls:  "register 201, delete 204"},
		{name: "18 an update although updates are off", setup: fault("update", ""),
			play: func(s *slot) {
				s.says("cause=\"exit code 3\"", 1)
				s.clearFault("update")
				s.await("a session that lasts", func() bool { return s.now().Phase == supervisor.Listening })
				polling(s)
			},
			phase: supervisor.Listening, health: "listening",
			prints: []string{"^Runner update in progress, do not shutdown runner.$", "^Runner listener exited with code 3.$", changedTo("exit code 3"), "^" + registered},
			calls:  "register 201, (delete 204, register 201, )*delete 204"},
		{name: "19 each line twice",
			play:  func(s *slot) { s.says(registered, 1); s.job("build", "0s", "Succeeded"); s.says(registered, 2) },
			phase: supervisor.Listening, health: "listening", jobs: 1, // and not 2
			prints: []string{`^\[RUNNER \d{4}-.* Terminal\] WRITE LINE: .*: Running job: build$`, ts + "Running job: build$"},
			calls:  "register 201, register 201, delete 204"},
		{name: "20 what a job leaves behind",
			play: func(s *slot) {
				s.says(registered, 1)
				// An orphan that does not end, and files wherever a job may write.
				s.enqueue(map[string]string{"name": "build", "duration": "0s", "script": `
					setsid sleep 100000 &
					for dir in . "$RUNNER_TEMP" "$HOME" /tmp /var/tmp /dev/shm ../../.. ../../../_diag; do echo left > "$dir/.left"; mkdir "$dir/left"; done
					echo READY`})
				s.says("READY", 1)
				s.says(registered, 2)
				if got := s.processes(); !slices.Equal(got, []string{"Runner.Listener", program}) {
					s.Errorf("processes %v", got)
				}
				for _, dir := range []string{s.root, s.root + "/_work", s.root + "/_work/_temp", s.root + "/_home", s.root + "/_diag", s.tmp("/tmp"), s.tmp("/var/tmp"), s.tmp("/dev/shm")} {
					for _, name := range []string{".left", "left"} {
						if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
							s.Errorf("left by the job: %s/%s", dir, name)
						}
					}
				}
			},
			phase: supervisor.Listening, health: "listening", jobs: 1,
			prints: []string{changedTo("job completed: Succeeded")}, calls: "register 201, register 201, delete 204"},
	} {
		t.Run(sc.name, func(t *testing.T) {
			t.Parallel()
			sc.run(t)
		})
	}
}

// run plays a scenario in its own container.
func (sc *scenario) run(t *testing.T) {
	t.Helper()
	s := newSlot(t)
	if sc.setup != nil {
		sc.setup(s)
	}
	s.start(sc.before)
	sc.play(s)
	sc.check(s)
	if sc.after != nil {
		sc.after(s)
	}
	sc.end(s)
}

// check compares the slot with the scenario.
func (sc *scenario) check(s *slot) {
	s.Helper()
	want, healthy := strings.CutPrefix(sc.health, "un: ")
	pattern := regexp.MustCompile("^" + want)
	s.await(fmt.Sprintf("phase %s, health %q", sc.phase, sc.health), func() bool {
		words, ok := s.health()
		return s.now().Phase == sc.phase && ok != healthy && pattern.MatchString(words)
	})
	if n := s.now().Jobs; n != sc.jobs {
		s.Errorf("%d jobs were counted, want %d", n, sc.jobs)
	}
}

// end ends the slot and checks what is left.
func (sc *scenario) end(s *slot) {
	s.Helper()
	if _, stderr, _ := s.out.read(); !strings.Contains(stderr, "to=draining") {
		s.signal(syscall.SIGTERM)
	}
	if sc.held {
		s.says("to=draining", 1)
		s.await("three refusals", func() bool { return strings.Count(s.calls(), "delete 422") >= 3 })
		if words, healthy := s.health(); !healthy {
			s.Errorf("a slot that holds a job is unhealthy: %s", words)
		}
		if stdout, _, _ := s.out.read(); strings.Contains(stdout, "Exiting...") {
			s.Error("the listener was interrupted with its job")
		}
		_ = s.cmd.Process.Kill()
		_ = s.cmd.Wait()
	} else {
		s.ended()
		if left := s.disk(); len(left) > 0 {
			s.Errorf("left on the disk: %v", left)
		}
		if st := s.now(); st.Phase != supervisor.Stopped || st.PID != 0 || st.ID != 0 || len(st.Pending) != sc.pending {
			s.Errorf("state at the end: %+v", st)
		}
	}
	s.out.prints(s.TB, sc.prints...)
	if calls := s.calls(); !regexp.MustCompile("^(" + sc.calls + ")$").MatchString(calls) {
		s.Errorf("GitHub was asked: %s\nwant: %s", calls, sc.calls)
	}
	if n := len(s.gh.State().Registrations); sc.left >= 0 && n != sc.left {
		s.Errorf("%d registrations are left: %+v", n, s.gh.State().Registrations)
	}
	if strings.Contains(s.out.String(), labToken) {
		s.Error("the token was printed")
	}
}
