package main

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/cmd/internal/clitest"
	"github.com/blueguy23/ghostrunner/internal/remedy"
	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
)

// These tests run the real program against the real engine. Everything that they make carries a
// label of their own.

// world is what one test made on the engine.
type world struct {
	t     *testing.T
	label string // KEY=VALUE
	tar   []byte // a file system with only /slot
	dir   string
	bin   string
	token string
}

// dockerCLI runs the docker command and returns what it printed.
func dockerCLI(t *testing.T, stdin io.Reader, args ...string) string {
	t.Helper()
	out, err := tryDocker(stdin, args...)
	if err != nil {
		t.Fatalf("docker %s: %v\nThis test needs a Docker engine and the docker command: start dockerd, or set DOCKER_HOST.", strings.Join(args, " "), err)
	}
	return out
}

func tryDocker(stdin io.Reader, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), clitest.WaitLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdin = stdin
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, stderr.String())
	}
	return strings.TrimSpace(string(out)), nil
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, label: fmt.Sprintf("ghostrunner-test=%s-%d", strings.ToLower(t.Name()), time.Now().UnixNano()), dir: t.TempDir()}
	t.Cleanup(func() {
		for _, l := range []string{w.label, w.label + "-bystander"} {
			if ids, _ := tryDocker(nil, "ps", "-aq", "--no-trunc", "--filter", "label="+l); ids != "" {
				_, _ = tryDocker(nil, append([]string{"rm", "-f"}, strings.Fields(ids)...)...)
			}
			if ids, _ := tryDocker(nil, "images", "-aq", "--no-trunc", "--filter", "label="+l); ids != "" {
				_, _ = tryDocker(nil, append([]string{"rmi", "-f"}, strings.Fields(ids)...)...)
			}
		}
	})
	w.bin = w.build(".", "remediator")
	slot, err := os.ReadFile(w.build("./testdata/slot", "slot"))
	if err != nil {
		t.Fatal(err)
	}
	var buf bytes.Buffer
	tw := tar.NewWriter(&buf)
	if err := tw.WriteHeader(&tar.Header{Name: "slot", Mode: 0o755, Size: int64(len(slot))}); err != nil {
		t.Fatal(err)
	}
	if _, err := tw.Write(slot); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	w.tar = buf.Bytes()
	w.token = filepath.Join(w.dir, "token")
	if err := os.WriteFile(w.token, []byte(testToken), 0o400); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) build(pkg, name string) string {
	w.t.Helper()
	out := filepath.Join(w.dir, name)
	cmd := exec.CommandContext(w.t.Context(), "go", "build", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if msg, err := cmd.CombinedOutput(); err != nil {
		w.t.Fatalf("go build %s: %v\n%s", pkg, err, msg)
	}
	return out
}

// image imports the file system as an image with that label. Without a name it dangles.
func (w *world) image(label, name string) string {
	args := []string{"import", "--change", `ENTRYPOINT ["/slot"]`, "--change", "LABEL " + label + " n=" + strconv.FormatInt(time.Now().UnixNano(), 10), "-"}
	if name != "" {
		args = append(args, name)
	}
	return dockerCLI(w.t, bytes.NewReader(w.tar), args...)
}

// run starts a container and returns its id. The first labels come without the label of this test.
func (w *world) run(image, label string, labels []string, mode ...string) string {
	args := []string{"run", "-d", "--network=none", "--label", label}
	for _, l := range labels {
		args = append(args, "--label", l)
	}
	return dockerCLI(w.t, nil, append(append(args, image), mode...)...)
}

func (w *world) inspect(id, format string) string {
	return dockerCLI(w.t, nil, "inspect", "--format", format, id)
}

// process is a running remediator.
type process struct {
	w    *world
	cmd  *exec.Cmd
	url  string
	logs *clitest.Output
}

func (w *world) serve(flags ...string) *process {
	w.t.Helper()
	p := &process{w: w, logs: &clitest.Output{}}
	p.cmd = exec.Command(w.bin, append([]string{ //nolint:noctx // killed below
		"--web.listen-address=127.0.0.1:0", "--web.bearer-token-file=" + w.token, "--docker.label=" + w.label,
		"--journal.path=" + filepath.Join(w.dir, "journal.db"), "--restart.grace=2s", "--restart.cooldown=1s",
	}, flags...)...)
	p.cmd.Stderr = p.logs
	if err := p.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		p.kill()
		if w.t.Failed() {
			w.t.Log(p.logs.String())
		}
	})
	p.url = "http://" + p.logs.Address(w.t)
	p.awaitReady()
	return p
}

func (p *process) awaitReady() {
	p.w.t.Helper()
	clitest.Until(p.w.t, "ready", func() bool {
		code, _ := p.ask(http.MethodGet, "/-/ready", nil)
		return code == http.StatusOK
	})
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p *process) ask(method, path string, body io.Reader) (int, []byte) {
	token, err := os.ReadFile(p.w.token)
	if err != nil {
		p.w.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(context.Background(), method, p.url+path, body)
	if err != nil {
		p.w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil
	}
	defer resp.Body.Close()
	b, _ := io.ReadAll(resp.Body)
	return resp.StatusCode, b
}

// alert sends one alert to the webhook.
func (p *process) alert(name, action string, labels map[string]string) {
	p.w.t.Helper()
	all := map[string]string{"alertname": name, "remediation": action}
	maps.Copy(all, labels)
	b, err := json.Marshal(map[string]any{"version": "4", "status": "firing", "alerts": []any{map[string]any{
		"status": "firing", "labels": all, "startsAt": time.Now(), "fingerprint": strconv.FormatInt(time.Now().UnixNano(), 10),
	}}})
	if err != nil {
		p.w.t.Fatal(err)
	}
	if code, text := p.ask(http.MethodPost, "/webhook", bytes.NewReader(b)); code != http.StatusAccepted {
		p.w.t.Fatalf("webhook: %d %s", code, text)
	}
}

// outcome waits until an action on a target has this outcome and reason.
func (p *process) outcome(action, target, want string) journal.Record {
	p.w.t.Helper()
	var found journal.Record
	var seen []string
	clitest.Until(p.w.t, action+" "+target+" "+want, func() bool {
		_, b := p.ask(http.MethodGet, "/api/v1/attempts", nil)
		var list []journal.Record
		if err := json.Unmarshal(b, &list); err != nil {
			return false
		}
		seen = seen[:0]
		for _, r := range list {
			got := strings.TrimSpace(string(r.Outcome) + " " + r.Reason)
			seen = append(seen, r.Action+" "+r.Target+" "+got)
			if r.Action == action && (r.Target == target || target == "") && got == want {
				found = r
				return true
			}
		}
		return false
	})
	return found
}

func slotLabels(name, heal string) []string {
	l := []string{"ghostrunner.role=runner", "ghostrunner.runner=" + name}
	if heal != "" {
		l = append(l, "ghostrunner.heal="+heal)
	}
	return l
}

const started = "{{.State.StartedAt}}"

func TestRestartOnDocker(t *testing.T) {
	w := newWorld(t)
	image := w.image(w.label, "")
	idle := w.run(image, w.label, slotLabels("ci-1", "restart"))
	busy := w.run(image, w.label, slotLabels("ci-2", "restart"), "busy")
	stubborn := w.run(image, w.label, slotLabels("ci-3", "restart"), "stubborn")
	closed := w.run(image, w.label, slotLabels("ci-4", ""))
	stranger := w.run(image, w.label+"-bystander", slotLabels("ci-5", "restart"))
	service := w.run(image, w.label, []string{"ghostrunner.role=service", "ghostrunner.heal=restart"})
	before := map[string]string{}
	for _, id := range []string{idle, busy, stubborn, closed, stranger, service} {
		before[id] = w.inspect(id, started)
	}
	clitest.Until(t, "the worker", func() bool {
		return strings.Contains(dockerCLI(t, nil, "top", busy, "-eo", "pid,args"), "Runner.Worker")
	})
	p := w.serve()
	name := strings.TrimPrefix(w.inspect(service, "{{.Name}}"), "/")
	for _, c := range []struct {
		labels map[string]string
		target string
		want   string
	}{
		{map[string]string{"runner": "ci-1"}, "ci-1", "completed"},
		{map[string]string{"runner": "ci-2"}, "ci-2", "refused busy"},
		{map[string]string{"runner": "ci-3"}, "ci-3", "completed"},
		{map[string]string{"runner": "ci-4"}, "ci-4", "refused not_allowed"},
		{map[string]string{"runner": "ci-5"}, "", "refused no_target"},
		{map[string]string{"container": name}, name, "completed"},
	} {
		c.labels["counts_as"] = "watchdog_fire"
		p.alert("GhostrunnerRunnerRetryLoop", "restart", c.labels)
		p.outcome("restart", c.target, c.want)
	}
	for id, touched := range map[string]bool{idle: true, busy: false, stubborn: true, closed: false, stranger: false, service: true} {
		if got := w.inspect(id, started) != before[id]; got != touched || w.inspect(id, "{{.State.Running}}") != "true" {
			t.Errorf("%s %s: restarted %t, want %t", w.inspect(id, "{{.Config.Labels}}"), w.inspect(id, "{{.State.Status}}"), got, touched)
		}
	}
	_, metrics := p.ask(http.MethodGet, "/metrics", nil)
	for _, line := range []string{
		`ghostrunner_watchdog_fires_total{runner="ci-1"} 1`, `ghostrunner_watchdog_fires_total{runner="ci-2"} 0`,
		`ghostrunner_remediator_actions_total{action="restart",target="ci-3"} 1`,
	} {
		if !strings.Contains(string(metrics), line+"\n") {
			t.Errorf("/metrics lacks %s", line)
		}
	}
}

// TestBackoffSurvivesKill9 is the promise that a stopped runner comes back.
func TestBackoffSurvivesKill9(t *testing.T) {
	w := newWorld(t)
	id := w.run(w.image(w.label, ""), w.label, append(slotLabels("ci-1", "restart,backoff"), "x=y"))
	const pause = "--backoff.duration=20s" // longer than a busy machine takes to look, to kill and to start again
	p := w.serve(pause)
	p.alert("GhostrunnerWatchdogStorm", "backoff", map[string]string{"runner": "ci-1"})
	p.outcome("backoff", "ci-1", "completed")
	if got := w.inspect(id, "{{.State.Running}}"); got != "false" {
		t.Fatalf("during the back-off: running is %s", got)
	}
	p.kill()
	p = w.serve(pause)
	var list []remedy.BreakerStatus
	if _, b := p.ask(http.MethodGet, "/api/v1/breakers", nil); json.Unmarshal(b, &list) != nil || len(list) != 1 || list[0].State != journal.Open {
		t.Errorf("breakers after the kill: %s", b)
	}
	clitest.Until(t, "the runner to run again", func() bool { return w.inspect(id, "{{.State.Running}}") == "true" })
	clitest.Until(t, "probation", func() bool {
		_, b := p.ask(http.MethodGet, "/api/v1/breakers", nil)
		return json.Unmarshal(b, &list) == nil && len(list) == 1 && list[0].State == journal.HalfOpen
	})
	_, metrics := p.ask(http.MethodGet, "/metrics", nil)
	if !strings.Contains(string(metrics), `ghostrunner_remediator_breaker_open_until_timestamp_seconds{runner="ci-1"}`) {
		t.Error("/metrics lacks the until time on probation")
	}
	var out, errs bytes.Buffer
	args := []string{"--remediator.url=" + p.url, "--web.bearer-token-file=" + w.token}
	if code := run(t.Context(), append(args, "breakers", "reset", "ci-1"), &out, &errs); code != 0 || !strings.Contains(out.String(), "half_open") {
		t.Errorf("breakers reset ci-1: %d %s%s", code, out.String(), errs.String())
	}
	out.Reset()
	if code := run(t.Context(), append(args, "history"), &out, &errs); code != 0 || !strings.Contains(out.String(), "GhostrunnerWatchdogStorm") {
		t.Errorf("history: %d %s%s", code, out.String(), errs.String())
	}
}

func TestPruneOnDocker(t *testing.T) {
	w := newWorld(t)
	used := w.image(w.label, "")
	dangling := w.image(w.label, "")
	unused := w.image(w.label, "ghostrunner-test:"+strconv.FormatInt(time.Now().UnixNano(), 10))
	foreign := w.image(w.label+"-bystander", "")
	w.run(used, w.label, slotLabels("ci-1", ""))
	leftover := dockerCLI(t, nil, "create", "--label", w.label, "--network=none", used)
	stranger := dockerCLI(t, nil, "create", "--label", w.label+"-bystander", "--network=none", used)
	stopped := dockerCLI(t, nil, "create", "--label", w.label, "--label", "ghostrunner.role=runner", "--label", "ghostrunner.runner=ci-2", "--network=none", used)
	// This disk never has more space, even after a removal.
	cfg, _, err := parse([]string{
		"--web.listen-address=127.0.0.1:0", "--web.bearer-token-file=" + w.token, "--docker.label=" + w.label,
		"--journal.path=" + filepath.Join(w.dir, "journal.db"), "--prune.label=" + w.label, "--prune.min-age=1ms",
	}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	cfg.measure = func(string) (uint64, uint64, error) { return 3e9, 100e9, nil }
	p := &process{w: w, logs: &clitest.Output{}}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, cfg, cfg.app.Logger(p.logs)) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	p.url = "http://" + p.logs.Address(t)
	p.awaitReady()
	p.alert("GhostrunnerDiskLow", "prune", map[string]string{"threshold_bytes": "10000000000", "target_bytes": "12000000000"})
	rec := p.outcome("prune", "engine", "failed not_enough")
	images := strings.Fields(dockerCLI(t, nil, "images", "-aq", "--no-trunc"))
	containers := strings.Fields(dockerCLI(t, nil, "ps", "-aq", "--no-trunc"))
	for _, c := range []struct {
		what string
		list []string
		id   string
		want bool
	}{
		{"used image", images, used, true}, {"dangling image", images, dangling, false}, {"unused image", images, unused, false},
		{"image of somebody else", images, foreign, true}, {"leftover", containers, leftover, false},
		{"container of somebody else", containers, stranger, true}, {"stopped runner", containers, stopped, true},
	} {
		if got := slices.Contains(c.list, c.id); got != c.want {
			t.Errorf("%s: there %t, want %t; %q", c.what, got, c.want, rec.Evidence)
		}
	}
}
