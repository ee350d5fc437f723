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

	"github.com/blueguy23/ghostrunner/cmd/internal/clitest"
)

// program runs the program to its end.
func program(ctx context.Context, args ...string) (code int, stdout, stderr string) {
	var out, errs bytes.Buffer
	code = run(ctx, func() {}, args, &out, &errs)
	return code, out.String(), errs.String()
}

// A bad value is named in one line, and nothing is started.
func TestRefusals(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"github"}, "--token"},
		{[]string{"github", "--token=a", "--token-file=b"}, "not both"},
		{[]string{"github", "--token-file=/does/not/exist"}, "--token-file"},
		{[]string{"github", "--token-file=" + empty}, "is empty"},
		{[]string{"github", "--token=a", "--time-scale=0"}, "--time-scale"},
		{[]string{"github", "--token=a", "--web.listen-address=127.0.0.1:99999"}, "--web.listen-address"},
		{[]string{"github", "--tokn=a"}, "tokn"},
		{[]string{"ntp", "--listen-address=nowhere"}, "--listen-address"},
		{[]string{"service", "--listen-address=nowhere"}, "--listen-address"},
		{[]string{"service", "--check", "--listen-address=127.0.0.1:1"}, "service check"},
		{[]string{"fault", "deaf"}, "on or off"},
		{[]string{"fault", "deaf", "maybe"}, "maybe"},
		{[]string{"fault", "deaf", "on", "--lab.url=http://127.0.0.1:1"}, "refused"},
		{[]string{"dance"}, "dance"},
	} {
		code, _, stderr := program(t.Context(), c.args...)
		if code != 1 || !strings.Contains(stderr, c.want) || strings.Count(stderr, "\n") != 1 {
			t.Errorf("%q: exit %d: %s", c.args, code, stderr)
		}
	}
	if code, stdout, _ := program(t.Context(), "--help"); code != 0 || !strings.Contains(stdout, "fault") {
		t.Errorf("--help: exit %d: %s", code, stdout)
	}
}

func TestGitHubAndFault(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan int, 1)
	var log clitest.Output
	go func() {
		done <- run(ctx, func() {}, []string{"github", "--token=t", "--web.listen-address=127.0.0.1:0", "--jobs.every=10ms"}, io.Discard, &log)
	}()
	address := log.Address(t)
	get := func(path string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer t")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return 0
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	clitest.Until(t, "ready", func() bool { return get("/-/ready") == 200 })
	if got := get("/user"); got != 200 {
		t.Errorf("user: %d", got)
	}
	url := "--lab.url=http://" + address
	if code, out, errs := program(t.Context(), "fault", "pat-rejected", "on", url); code != 0 || !strings.Contains(out, "pat-rejected on") {
		t.Errorf("fault: exit %d: %s%s", code, out, errs)
	}
	if got := get("/user"); got != 401 {
		t.Errorf("rejected user: %d", got)
	}
	if code, out, _ := program(t.Context(), "fault", "list", url); code != 0 || strings.Count(out, "[on") != 1 {
		t.Errorf("list: exit %d: %s", code, out)
	}
	if code, _, errs := program(t.Context(), "fault", "nope", "on", url); code != 1 || !strings.Contains(errs, `"nope"`) {
		t.Errorf("unknown: exit %d: %s", code, errs)
	}
	cancel()
	if code := <-done; code != 0 {
		t.Errorf("github: exit %d", code)
	}
}
