package supervisor

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// fakeProc writes a process table with one listener (7) and the given further programs.
func fakeProc(t *testing.T, more ...string) string {
	t.Helper()
	proc := t.TempDir()
	add := func(pid int, state, argv0 string) {
		dir := filepath.Join(proc, strconv.Itoa(pid))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		cmdline := argv0 + "\x00arg\x00"
		if state == "Z" {
			cmdline = ""
		}
		for name, data := range map[string]string{"stat": fmt.Sprintf("%d (a ) b) %s 1 0 0", pid, state), "cmdline": cmdline} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(7, "S", "/actions-runner/bin/Runner.Listener")
	add(8, "Z", "x")
	for i, argv0 := range more {
		add(10+i, "S", argv0)
	}
	if err := os.WriteFile(filepath.Join(proc, "uptime"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return proc
}

func TestHealth(t *testing.T) {
	now := time.Now()
	for name, tc := range map[string]struct {
		state State
		age   time.Duration
		more  []string
		want  bool
		why   string
	}{
		"listening":               {State{Phase: Listening, PID: 7}, 0, nil, true, "listening"},
		"online":                  {State{Phase: Listening, PID: 7, GitHub: GitHubStatus{statusOnline, 9}}, 0, nil, true, "listening, GitHub: online"},
		"unreachable":             {State{Phase: Listening, PID: 7, GitHub: GitHubStatus{statusUnreachable, 99}}, 0, nil, true, "listening, GitHub: unreachable"},
		"offline once":            {State{Phase: Listening, PID: 7, GitHub: GitHubStatus{statusOffline, 1}}, 0, nil, true, "listening, but GitHub says: offline"},
		"offline twice":           {State{Phase: Listening, PID: 7, GitHub: GitHubStatus{statusOffline, 2}}, 0, nil, false, "listening, but GitHub says: offline"},
		"not registered":          {State{Phase: Listening, PID: 7, GitHub: GitHubStatus{statusNotRegistered, 2}}, 0, nil, false, "not registered"},
		"token, listening":        {State{Phase: Listening, PID: 7, GitHub: GitHubStatus{CausePATInvalid, 2}}, 0, nil, false, "pat_invalid"},
		"token, once":             {State{Phase: Listening, PID: 7, GitHub: GitHubStatus{CausePATInvalid, 1}}, 0, nil, true, "pat_invalid"},
		"token, but a worker":     {State{Phase: Listening, PID: 7, GitHub: GitHubStatus{CausePATInvalid, 2}}, 0, []string{"/r/bin/Runner.Worker"}, true, "job running"},
		"waiting":                 {State{Phase: Waiting}, 0, nil, true, "waiting"},
		"waiting after failures":  {State{Phase: Waiting, Failures: 5, Failure: "github: server"}, 0, nil, false, "github: server (5"},
		"clock, for hours":        {State{Phase: Waiting, Blocked: CauseClockSkew, BlockedSince: now.Add(-time.Hour)}, 0, nil, true, "waiting for 1h0m0s: clock_skew"},
		"names, a while":          {State{Phase: Waiting, Blocked: CauseNames, BlockedSince: now.Add(-4 * time.Minute)}, 0, nil, true, "names_unresolved"},
		"names, for long":         {State{Phase: Waiting, Blocked: CauseNames, BlockedSince: now.Add(-5 * time.Minute)}, 0, nil, false, "waiting for 5m0s: names_unresolved"},
		"listener gone":           {State{Phase: Listening, PID: 9}, 0, nil, false, "listener gone"},
		"listener a zombie":       {State{Phase: Listening, PID: 8}, 0, nil, false, "listener gone"},
		"listening after trouble": {State{Phase: Listening, PID: 7, Failures: 9, Failure: "x"}, 0, nil, true, "listening"},
		"job":                     {State{Phase: Job, PID: 7}, 0, nil, true, "job"},
		"connecting":              {State{Phase: Connecting, PID: 7, Failures: 4}, 0, nil, true, "connecting"},
		"connecting for the 6th":  {State{Phase: Connecting, PID: 7, Failures: 5, Failure: "x"}, 0, nil, false, "x (5"},
		"registering":             {State{Phase: Registering, Failures: 4, Failure: "github: network"}, 0, nil, true, "4 failures"},
		"five failures":           {State{Phase: Registering, Failures: 5, Failure: "github: network"}, 0, nil, false, "github: network (5"},
		"token":                   {State{Phase: Registering, Failures: 1, Failure: CausePATInvalid}, 0, nil, false, "pat_invalid"},
		"deprecated":              {State{Phase: Cleaning, Failures: 1, Failure: CauseVersionDeprecated}, 0, nil, false, "version_deprecated"},
		"draining":                {State{Phase: Draining}, 0, nil, true, "draining"},
		"19 s":                    {State{Phase: Registering}, 19 * time.Second, nil, true, "registering"},
		"stale":                   {State{Phase: Registering}, 21 * time.Second, nil, false, "stale"},
		"from the future":         {State{Phase: Registering}, -21 * time.Second, nil, false, "stale"},
		"worker, all else wrong":  {State{Phase: Registering, Failures: 9, Failure: "x"}, time.Hour, []string{"/actions-runner/bin/Runner.Worker"}, true, "job running"},
		"something like a worker": {State{Phase: Registering, Failures: 9, Failure: "x"}, 0, []string{"/bin/grep"}, false, "x"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "state.json")
			tc.state.Updated = now.Add(-tc.age)
			if err := tc.state.write(file); err != nil {
				t.Fatal(err)
			}
			healthy, why := Health(file, fakeProc(t, tc.more...), now)
			if healthy != tc.want || !strings.HasPrefix(why, tc.why) && !strings.Contains(why, tc.why) {
				t.Errorf("Health = %v, %q; want %v, %q", healthy, why, tc.want, tc.why)
			}
		})
	}
	if healthy, why := Health("/nonexistent/state.json", fakeProc(t), now); healthy || !strings.HasPrefix(why, "no state file") {
		t.Errorf("without a state file: %v, %q", healthy, why)
	}
}

func TestChecks(t *testing.T) {
	dir := t.TempDir()
	user := User{UID: testUID, GID: testGID, Groups: []int{testGID}}
	write := func(name string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	expect := func(what string, got []Problem, want ...string) {
		t.Helper()
		if len(got) != len(want) {
			t.Errorf("%s: %d problems %v, want %d", what, len(got), got, len(want))
			return
		}
		for i := range want {
			if !strings.Contains(got[i].String(), want[i]) || got[i].Remedy == "" {
				t.Errorf("%s: problem %q, want %q", what, got[i], want[i])
			}
		}
	}
	write("bin/Runner.Listener", 0o755)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	expect("directory of root", CheckRoot(dir, user), "not writable for user 1001: chmod 1777")
	if err := os.Chown(dir, testUID, testGID); err != nil {
		t.Fatal(err)
	}
	expect("good directory", CheckRoot(dir, user))
	expect("program of the job's user", CheckProgram(dir, user), "jobs can replace the runner's program")
	if err := errors.Join(os.Chown(dir, 0, 0), os.Chmod(dir, 0o777)); err != nil {
		t.Fatal(err)
	}
	expect("program in a directory that is anybody's", CheckProgram(dir, user), "jobs can replace the runner's program")
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	expect("safe program", CheckProgram(dir, user))
	expect("safe directory", CheckRoot(dir, user))
	if err := os.Chmod(listenerPath(dir), 0o644); err != nil {
		t.Fatal(err)
	}
	expect("program not executable", CheckRoot(dir, user), "not executable")
	expect("no directory", CheckRoot(dir+"/none", user), "missing", "no such file")

	expect("no token file", CheckToken("", user))
	expect("missing token file", CheckToken(dir+"/none", user), "cannot be read")
	expect("safe token", CheckToken(write("token", 0o600), user))
	expect("unsafe token", CheckToken(write("open-token", 0o644), user), "jobs can read the token")

	expect("no socket", CheckDocker(dir+"/none", user))
	expect("a directory as socket", CheckDocker(dir, user), "is not a socket")
	expect("enough room", CheckSpace(dir, 1))
	expect("no room", CheckSpace(dir, 1<<62), "are free on the disk")
}

func TestSudo(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "sudoers.d", "ghostrunner-runner")
	if err := SetSudo(file, testUID, false); err != nil {
		t.Errorf("nothing to take away: %v", err)
	}
	t.Setenv("PATH", dir)
	problems := CheckSudo(true)
	if len(problems) == 0 || !strings.Contains(problems[0].What, "there is no sudo") || CheckSudo(false) != nil {
		t.Errorf("problems: %v", problems)
	}
	if err := errors.Join(os.Mkdir(filepath.Dir(file), 0o755), os.WriteFile(filepath.Join(dir, "sudo"), nil, 0o755)); err != nil {
		t.Fatal(err)
	}
	if problems := CheckSudo(true); len(problems) > 1 || len(problems) == 1 && !strings.Contains(problems[0].Remedy, "sudo.yaml") {
		t.Errorf("problems: %v", problems)
	}
	if err := SetSudo(file, testUID, true); err != nil {
		t.Fatal(err)
	}
	rule, err := os.ReadFile(file)
	info, statErr := os.Stat(file)
	if err != nil || statErr != nil || info.Mode().Perm() != 0o440 || !strings.HasSuffix(string(rule), "\n#1001 ALL=(ALL:ALL) NOPASSWD: ALL\n") {
		t.Errorf("%v %v %v %q", err, statErr, info.Mode(), rule)
	}
	if info, err := os.Stat(filepath.Join(dir, "sudo")); err != nil || info.Mode() != 0o755|os.ModeSetuid {
		t.Errorf("sudo cannot become root: %v, %v", info.Mode(), err)
	}
	if err := SetSudo(file, testUID, false); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("sudo stays after it was taken away")
	}
}
