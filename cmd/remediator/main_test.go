package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/cmd/internal/clitest"
	"github.com/blueguy23/ghostrunner/internal/github"
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
		{[]string{"--web.bearer-token-file=x", "--disk.prune-threshold-gb=NaN"}, "--disk.prune-threshold-gb"},
		{[]string{"--web.bearer-token-file=x", "--prune.label=x"}, "KEY=VALUE"},
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
	clitest.Until(t, "the log to say that Docker is down", func() bool { return strings.Contains(p.log.String(), "Docker does not answer") })
	if code := p.stop(); code != 0 {
		t.Errorf("exit %d after it was told to stop: %s", code, p.log.String())
	}
}

func TestBusyIn(t *testing.T) {
	now := time.Now()
	slots := []string{"ci-1", "ci-1-gpu", "ci-2"}
	snapshot := github.Snapshot{Scopes: []github.ScopeSnapshot{{LastSuccess: now, Runners: []github.Runner{
		{Name: "ci-1-gpu-abc", Busy: true}, {Name: "ci-1-abc"}, {Name: "ci-20", Busy: true},
	}}}}
	for slot, want := range map[string]bool{"ci-1": false, "ci-1-gpu": true, "ci-2": false} {
		if busy, known := busyIn(snapshot, slot, slots, now); busy != want || !known {
			t.Errorf("%s: busy %t, known %t", slot, busy, known)
		}
	}
	if _, known := busyIn(snapshot, "ci-1-gpu", slots, now.Add(time.Hour)); known {
		t.Error("an hour later it is still believed")
	}
}
