package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/cmd/internal/clitest"
	"github.com/blueguy23/ghostrunner/internal/github"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

func TestBadCommandLines(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--nonsense"}, "nonsense"},
		{[]string{"--web.bearer-token-file="}, "WEBHOOK_TOKEN_FILE"},
		{[]string{"--web.bearer-token-file=/does/not/exist"}, "token --out=/does/not/exist"},
		{[]string{"--web.bearer-token-file=" + empty}, "is empty"},
		{[]string{"--web.bearer-token-file=x", "--restart.grace=0s"}, "--restart.grace"},
		{[]string{"--web.bearer-token-file=x", "--backoff.max=1m"}, "--backoff.max"},
		{[]string{"--disk.prune-threshold-gb=x"}, `--disk.prune-threshold-gb="x" (or PRUNE_THRESHOLD_GB): `},
		{[]string{"--restart.grace=x"}, `--restart.grace="x"`},
		{[]string{"history", "--limit=x"}, `--limit="x"`},
		{[]string{"--web.bearer-token-file=x", "--disk.prune-threshold-gb=NaN"}, "--disk.prune-threshold-gb"},
		{[]string{"--web.bearer-token-file=x", "--prune.label=x"}, "KEY=VALUE"},
		{[]string{"--web.bearer-token-file=x", "--prune.keep=("}, "PRUNE_KEEP"},
		{[]string{"--web.bearer-token-file=x", "--window=Mo 10:00-12:00"}, `REMEDIATION_WINDOW): day "Mo"`},
		{[]string{"token", "--out=x", "--mode=9"}, "octal"},
	} {
		var out, errs bytes.Buffer
		code := run(t.Context(), c.args, &out, &errs)
		if code != 1 || strings.Count(errs.String(), "\n") != 1 || !strings.Contains(errs.String(), c.says) {
			t.Errorf("%q: exit %d, %q; want one line with %q", c.args, code, errs.String(), c.says)
		}
	}
	for _, args := range [][]string{{"--help"}, {"--version"}} {
		var out, errs bytes.Buffer
		if code := run(t.Context(), args, &out, &errs); code != 0 || out.Len() == 0 {
			t.Errorf("%q: exit %d, %q %q", args, code, out.String(), errs.String())
		}
	}
}

func TestToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	for range 2 { // the second time it is left as it is
		before, _ := os.ReadFile(path)
		var out, errs bytes.Buffer
		if code := run(t.Context(), []string{"token", "--out", path, "--mode=0440"}, &out, &errs); code != 0 {
			t.Fatalf("exit %d: %s", code, errs.String())
		}
		after, err := os.ReadFile(path)
		if err != nil || len(after) < 40 || (before != nil && !bytes.Equal(before, after)) {
			t.Errorf("%v: %d bytes, before %d", err, len(after), len(before))
		}
		if strings.Contains(out.String()+errs.String(), strings.TrimSpace(string(after))) {
			t.Error("the token was printed")
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o440 {
			t.Errorf("%v: %v", err, info.Mode())
		}
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v %v", entries, err)
	}
}

// TestPAT wants each token in the file that the others read, and stops at what is none with a line that names the variable.
func TestPAT(t *testing.T) {
	dir := t.TempDir()
	out := filepath.Join(dir, "pat")
	const first, second = "ghp_0123456789abcdefghijklmnopqrstuvwxyz", "github_pat_0123456789abcdefghijklmnopqrstuvwxyz"
	for _, c := range []struct{ token, want string }{
		{first, ""},
		{second + "\r\n", ""}, // the file of the first is not writable, and is replaced
		{"", "GITHUB_PAT"},
		{"your-token-here", "GITHUB_PAT"},
		{"ghp_xxxxxxxxxxxx", "GITHUB_PAT"},
		{"<token>", "GITHUB_PAT"},
		{"'" + second + "'", "GITHUB_PAT"},
		{"GITHUB_PAT=" + second, "GITHUB_PAT"},
	} {
		in := filepath.Join(dir, "in")
		if err := os.WriteFile(in, []byte(c.token), 0o600); err != nil {
			t.Fatal(err)
		}
		var said, errs bytes.Buffer
		code := run(t.Context(), []string{"pat", "--github.token-file=" + in, "--out=" + out}, &said, &errs)
		if (code == 0) != (c.want == "") || !strings.Contains(errs.String(), c.want) || strings.Count(errs.String(), "\n") > 1 {
			t.Errorf("%q: exit %d, %s; want %q", c.token, code, &errs, c.want)
		}
		if token := strings.TrimSpace(c.token); token != "" && strings.Contains(said.String()+errs.String(), token) {
			t.Errorf("the token is printed: %s%s", &said, &errs)
		}
	}
	got, err := os.ReadFile(out)
	if info, _ := os.Stat(out); err != nil || string(got) != second+"\n" || info.Mode().Perm() != 0o400 {
		t.Errorf("%q, %v", got, err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".pat*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestSetting wants each value that cannot be right to be told in one line that names its variable, and no other to be told.
func TestSetting(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "docker.sock")
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chown(socket, 0, 105), os.Chmod(socket, 0o660)); err != nil {
		t.Fatal("this test makes a file of another group: run it as root: ", err)
	}
	for _, c := range []struct{ owner, repo, gid, name, want string }{
		{"acme", "widgets", "105", "", ""},
		{"acme", "", "105", "", ""},
		{"your-travel", "xx", "105", "", ""}, // somebody may be called so
		{"enterprises/acme", "", "105", "", ""},
		{"", "widgets", "105", "REPO_OWNER", "is empty"},
		{"<owner>", "widgets", "105", "REPO_OWNER", "placeholder"},
		{"changeme", "widgets", "105", "REPO_OWNER", "placeholder"},
		{"your-org", "widgets", "105", "REPO_OWNER", "placeholder"},
		{"acme\r", "widgets", "105", "REPO_OWNER", "dos2unix"},
		{" acme", "widgets", "105", "REPO_OWNER", "white space"},
		{`"acme"`, "widgets", "105", "REPO_OWNER", "quotes"},
		{"acme/widgets", "widgets", "105", "REPO_OWNER", "more than one name"},
		{"https://github.com/acme", "", "105", "REPO_OWNER", "more than one name"},
		{"acme!", "widgets", "105", "REPO_OWNER", "no name that GitHub allows"},
		{"acme", "acme/widgets", "105", "REPO_NAME", "more than one name"},
		{"acme", "<repo>", "105", "REPO_NAME", "placeholder"},
		{"acme", "your-repo", "105", "REPO_NAME", "placeholder"},
		{"acme", "widgets.git", "105", "REPO_NAME", ".git"},
		{"acme", "widgets ", "105", "REPO_NAME", "white space"},
		{"acme", "wid#gets", "105", "REPO_NAME", "no name that GitHub allows"},
		{"enterprises/acme", "widgets", "105", "REPO_NAME", "leave REPO_NAME empty"},
		{"acme", "widgets", "1001", "DOCKER_GID", "belongs to group 105: set DOCKER_GID=105"},
		{"acme", "widgets", "docker", "DOCKER_GID", "set DOCKER_GID=105"},
		{"acme", "widgets", "<gid>", "DOCKER_GID", "set DOCKER_GID=105"},
		{"acme", "widgets", "105\r", "DOCKER_GID", "set DOCKER_GID=105"},
		{"acme", "widgets", "-1", "DOCKER_GID", "set DOCKER_GID=105"},
	} {
		t.Setenv("REPO_OWNER", c.owner)
		t.Setenv("REPO_NAME", c.repo)
		t.Setenv("DOCKER_GID", c.gid)
		for _, name := range []string{"REPO_OWNER", "REPO_NAME", "DOCKER_GID"} {
			var said, errs bytes.Buffer
			code := run(t.Context(), []string{"setting", name, "--docker.socket=" + socket}, &said, &errs)
			switch got := errs.String(); {
			case name != c.name && (code != 0 || got != ""):
				t.Errorf("%+v: %s: exit %d, %s; want nothing", c, name, code, got)
			case name == c.name && (code != 1 || strings.Count(got, "\n") != 1 || !strings.Contains(got, c.want) || !strings.HasPrefix(got, "ghostrunner-remediator: compose/.env: "+name)):
				t.Errorf("%+v: exit %d, %q; want one line about %s with %q", c, code, got, name, c.want)
			}
		}
	}
	t.Setenv("DOCKER_GID", "1001")
	for mode, want := range map[os.FileMode]int{0o666: 0, 0o660: 1, 0o600: 1} {
		if err := os.Chmod(socket, mode); err != nil {
			t.Fatal(err)
		}
		if code := run(t.Context(), []string{"setting", "DOCKER_GID", "--docker.socket=" + socket}, io.Discard, io.Discard); code != want {
			t.Errorf("a socket with mode %o: exit %d, want %d", mode, code, want)
		}
	}
	var errs bytes.Buffer
	if code := run(t.Context(), []string{"setting", "DOCKER_GID", "--docker.socket=" + socket + "/none"}, io.Discard, &errs); code != 1 || !strings.Contains(errs.String(), "none") {
		t.Errorf("no socket: exit %d, %s", code, &errs)
	}
}

// served is a program that runs in this process.
type served struct {
	url, token string // token is the file
	log        *clitest.Output
	stop       func() int // returns the exit code
}

// serveInProcess runs the program until it is ready, and stops it at the end of the test.
func serveInProcess(t *testing.T, flags ...string) *served {
	t.Helper()
	dir := t.TempDir()
	s := &served{token: filepath.Join(dir, "token"), log: &clitest.Output{}}
	if err := makeToken(s.token, 0o400, io.Discard); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, append([]string{
			"--web.listen-address=127.0.0.1:0", "--web.bearer-token-file=" + s.token, "--journal.path=" + filepath.Join(dir, "journal.db"),
		}, flags...), io.Discard, s.log)
	}()
	s.stop = sync.OnceValue(func() int {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { s.stop() })
	s.url = "http://" + s.log.Address(t)
	clitest.Until(t, "the journal", func() bool { return strings.Contains(s.log.String(), "Journal opened") })
	return s
}

// TestWithoutDocker is a start on a machine whose engine is down.
func TestWithoutDocker(t *testing.T) {
	p := serveInProcess(t, "--docker.host=unix:///does/not/exist.sock")
	clitest.Until(t, "/-/ready", func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/-/ready", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	for url, want := range map[string]int{p.url: 0, "http://127.0.0.1:1": 1} {
		if code := run(t.Context(), []string{"healthcheck", "--remediator.url=" + url}, io.Discard, io.Discard); code != want {
			t.Errorf("health check of %s: exit %d", url, code)
		}
	}
	clitest.Until(t, "the log to say that Docker is down", func() bool { return strings.Contains(p.log.String(), "Docker does not answer") })
	if code := p.stop(); code != 0 {
		t.Errorf("exit %d after it was told to stop: %s", code, p.log.String())
	}
}

func TestKnownIn(t *testing.T) {
	now := time.Now()
	snapshot := github.Snapshot{Scopes: []github.ScopeSnapshot{
		{Scope: "acme/widgets", LastSuccess: now, Runners: []runner.Registration{{ID: 1, Name: "ci-1-abc", Status: "online", Busy: true}}},
		{Scope: "acme", LastSuccess: now.Add(-time.Hour)},
		{Scope: "never"},
	}}
	got, ok := knownIn(snapshot, "Acme/Widgets", now)
	if want := []runner.Registration{{ID: 1, Name: "ci-1-abc", Status: "online", Busy: true}}; !ok || !reflect.DeepEqual(got, want) {
		t.Errorf("%v %t, want %v", got, ok, want)
	}
	for _, scope := range []string{"acme", "never", "other", ""} {
		if _, ok := knownIn(snapshot, scope, now); ok {
			t.Errorf("scope %q is known", scope)
		}
	}
	for _, jump := range []time.Duration{time.Hour, -time.Hour} {
		if _, ok := knownIn(snapshot, "acme/widgets", now.Add(jump)); ok {
			t.Errorf("believed although the clock says %s later", jump)
		}
	}
}

// TestScopesOfLabels is about runners that register elsewhere than the configuration says.
func TestScopesOfLabels(t *testing.T) {
	v := &githubView{home: "acme/widgets"}
	list := []runner.Container{
		{Runner: "a"}, {Runner: "b", Scope: "acme"}, {Runner: "c", Scope: "ACME"}, {Runner: "d", Scope: "a/b/c"}, {Scope: "no-runner"},
	}
	v.note(list)
	if got := fmt.Sprint(v.moreScopes()); got != "[acme]" {
		t.Errorf("asked besides: %s", got)
	}
	if got := v.scopeOf(list[0]) + " " + v.scopeOf(list[1]); got != "acme/widgets acme" {
		t.Errorf("scopes %s", got)
	}
	var none *githubView
	none.note(list)
	if got := none.scopeOf(list[0]); got != "" {
		t.Errorf("without GitHub: scope %q", got)
	}
}
