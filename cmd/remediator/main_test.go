package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
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

// TestWithoutDocker is a start on a machine whose engine is down.
func TestWithoutDocker(t *testing.T) {
	dir := t.TempDir()
	token := filepath.Join(dir, "token")
	if err := makeToken(token, 0o400, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	var errs clitest.Output
	go func() {
		ended <- run(ctx, []string{
			"--web.listen-address=127.0.0.1:0", "--web.bearer-token-file=" + token, "--docker.host=unix://" + filepath.Join(dir, "none.sock"),
			"--journal.path=" + filepath.Join(dir, "journal.db"),
		}, io.Discard, &errs)
	}()
	addr := errs.Address(t)
	clitest.Until(t, "/-/ready", func() bool {
		status := 0
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/-/ready", nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.DefaultClient.Do(req); err == nil {
			status = resp.StatusCode
			_ = resp.Body.Close()
		}
		return status == http.StatusOK
	})
	payload := filepath.Join(dir, "payload.json")
	if err := os.WriteFile(payload, []byte(`{"version":"4","alerts":[{"status":"firing","labels":{"alertname":"A","remediation":"restart","runner":"x"},
		"startsAt":"2026-01-01T00:00:00Z","fingerprint":"f"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	var said, complained bytes.Buffer
	code := run(t.Context(), []string{"--remediator.url=http://" + addr, "--web.bearer-token-file=" + token, "explain", payload}, &said, &complained)
	if code != 0 || !strings.Contains(said.String(), "unknown_state") {
		t.Errorf("explain: exit %d, %s%s", code, said.String(), complained.String())
	}
	stop()
	if code := <-ended; code != 0 {
		t.Errorf("exit %d after it was told to stop: %s", code, errs.String())
	}
	if !strings.Contains(errs.String(), "Docker does not answer") {
		t.Errorf("the log does not say that Docker is down: %s", errs.String())
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
