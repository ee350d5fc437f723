package main

import (
	"bytes"
	"context"
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
		{[]string{"--web.bearer-token-file=/does/not/exist"}, "write a random token into it"},
		{[]string{"--web.bearer-token-file=" + empty}, "is empty"},
		{[]string{"--web.bearer-token-file=x", "--restart.grace=0s"}, "--restart.grace"},
		{[]string{"--web.bearer-token-file=x", "--backoff.max=1m"}, "--backoff.max"},
		{[]string{"--restart.grace=x"}, `--restart.grace="x"`},
		{[]string{"history", "--limit=x"}, `--limit="x"`},
		{[]string{"--web.bearer-token-file=x", "--time-scale=0"}, "--time-scale"},
		{[]string{"--web.bearer-token-file=x", "breakers", "reset"}, "runner"},
		{[]string{"--web.bearer-token-file=x", "--prune.label=x"}, "KEY=VALUE"},
		{[]string{"--web.bearer-token-file=x", "--prune.keep=("}, "PRUNE_KEEP"},
		{[]string{"--web.bearer-token-file=x", "--window=Mo 10:00-12:00"}, `REMEDIATION_WINDOW): day "Mo"`},
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

const testToken = "a-token-of-the-test-and-of-no-other-use\n"

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
	if err := os.WriteFile(s.token, []byte(testToken), 0o400); err != nil {
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
		t.Errorf("exit %d after SIGTERM: %s", code, p.log.String())
	}
}

func TestKnownIn(t *testing.T) {
	now := time.Now()
	snapshot := runner.GitHub{Scopes: []runner.Scope{
		{Name: "acme/widgets", LastSuccess: now, Runners: []runner.Registration{{ID: 1, Name: "ci-1-abc", Status: "online", Busy: true}}},
		{Name: "acme", LastSuccess: now.Add(-time.Hour)},
		{Name: "never"},
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
		{Runner: "a"}, {Runner: "b", Scope: "acme"}, {Runner: "c", Scope: "ACME"}, {Runner: "d", Scope: "a/b/c"}, {Name: "no-runner"},
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
