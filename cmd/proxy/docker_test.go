package main

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/cmd/internal/clitest"
	"github.com/blueguy23/ghostrunner/internal/docker"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// TestEveryCallOfOurs makes every call of internal/docker through the real program to the real
// engine. The tables are right if nothing is refused and every rule is used.
func TestEveryCallOfOurs(t *testing.T) {
	methods := map[string]bool{}
	for m := range reflect.TypeFor[*docker.Engine]().Methods() {
		methods[m.Name] = true
	}
	for _, c := range []struct {
		client string
		drive  func(*world, *docker.Engine) (called []string)
	}{{"exporter", driveExporter}, {"remediator", driveRemediator}} {
		t.Run(c.client, func(t *testing.T) {
			w := newWorld(t)
			host, logs := w.proxy(c.client)
			docker, err := docker.New(docker.Options{Host: "unix://" + host, Labels: []string{w.label}})
			if err != nil {
				t.Fatal(err)
			}
			for _, name := range c.drive(w, docker) {
				delete(methods, name)
			}
			if strings.Contains(logs.String(), "Refused") {
				t.Errorf("a call of ours was refused:\n%s", logs)
			}
			needed := map[string]bool{}
			for _, m := range regexp.MustCompile(`msg=Allowed rule="([^"]+)"`).FindAllStringSubmatch(logs.String(), -1) {
				needed[m[1]] = true
			}
			for _, rule := range rulesOf(t, c.client) {
				if !needed[rule] {
					t.Errorf("no call needs %s: remove it from the table", rule)
				}
			}
		})
	}
	for name := range methods {
		t.Errorf("docker.Engine.%s is not called here: the proxies may refuse it", name)
	}
}

// rulesOf reads the rules from the source of a table.
func rulesOf(t *testing.T, client string) (rules []string) {
	t.Helper()
	text, err := os.ReadFile("../../internal/dockerproxy/" + client + ".go")
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`method: "(\w+)", path: "([^"]+)"`).FindAllStringSubmatch(string(text), -1) {
		rules = append(rules, m[1]+" "+m[2])
	}
	if len(rules) < 5 {
		t.Fatalf("%d rules found in the table", len(rules))
	}
	return rules
}

// driveExporter does what ghostrunner-exporter does.
func driveExporter(w *world, engine *docker.Engine) []string {
	ctx, stop := context.WithCancel(w.Context())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer stop()
	id := w.container("ghostrunner.role=runner", "ghostrunner.runner=slot", "count", "3")
	sink := &lines{}
	wg.Go(func() { _ = engine.Watch(ctx) })
	wg.Go(func() { _ = engine.Tail(ctx, sink) })
	clitest.Until(w, "the log of the runner", func() bool { return sink.count.Load() >= 3 })
	w.docker("stop", "--time=1", id)
	clitest.Until(w, "the end of the log", func() bool { return sink.ended.Load() > 0 })
	late := w.container("ghostrunner.role=runner", "ghostrunner.runner=late", "sleep")
	clitest.Until(w, "an event", func() bool {
		containers, _ := engine.Observed()
		return slices.ContainsFunc(containers, func(c runner.Container) bool { return c.ID == late && c.State == "running" })
	})
	_, err := engine.Containers(ctx)
	w.must("Containers", err)
	_, err = engine.Root(ctx)
	w.must("Root", err)
	_, err = engine.ReclaimableBytes(ctx)
	w.must("ReclaimableBytes", unlessBusy(err))
	return []string{"Watch", "Tail", "Observed", "Containers", "Root", "ReclaimableBytes"}
}

// unlessBusy ignores the answer of an engine that measures for another client, which it does for
// one at a time. The call has passed the proxy.
func unlessBusy(err error) error {
	if err != nil && strings.Contains(err.Error(), "already running") {
		return nil
	}
	return err
}

// driveRemediator does what ghostrunner-remediator does.
func driveRemediator(w *world, engine *docker.Engine) []string {
	ctx := w.Context()
	slot := w.container("ghostrunner.role=runner", "ghostrunner.heal=restart,backoff", "sleep")
	list, err := engine.Containers(ctx)
	w.must("Containers", err)
	if len(list) != 1 || list[0].ID != slot {
		w.Errorf("Containers: %v", list)
	}
	_, err = engine.Root(ctx)
	w.must("Root", err)
	processes, err := engine.Processes(ctx, slot)
	w.must("Processes", err)
	if len(processes) == 0 {
		w.Error("Processes: none")
	}
	w.must("Restart in its grace period", engine.Restart(ctx, slot, -1))
	w.must("Restart", engine.Restart(ctx, slot, 10*time.Second))
	w.must("Terminate", engine.Terminate(ctx, slot))
	clitest.Until(w, "the end", func() bool { return w.docker("inspect", "--format={{.State.Status}}", slot) == "exited" })
	w.must("Start", engine.Start(ctx, slot))
	w.must("Stop", engine.Stop(ctx, slot, 10*time.Second))

	leftover := w.container("exit", "0")
	clitest.Until(w, "the leftover to end", func() bool { return w.docker("inspect", "--format={{.State.Status}}", leftover) == "exited" })
	// Only a label shows what is left over, so without one nothing is removed.
	host, _ := w.proxy("remediator", "--prune.label="+w.label)
	labeled, err := docker.New(docker.Options{Host: "unix://" + host, Labels: []string{w.label}})
	w.must("New", err)
	left, err := labeled.Leftovers(ctx, w.label)
	w.must("Leftovers", err)
	if len(left) != 1 || left[0].ID != leftover {
		w.Errorf("Leftovers: %v", left)
	}
	w.must("RemoveContainer", labeled.RemoveContainer(ctx, leftover))

	unused := w.newImage("ghostrunner-proxy-test/unused:1")
	w.docker("tag", unused, "ghostrunner-proxy-test/unused:2")
	_, err = engine.Images(ctx, "")
	w.must("Images", err)
	_, err = engine.Images(ctx, w.mine)
	w.must("Images with the label", err)
	w.must("RemoveImage", engine.RemoveImage(ctx, unused))
	for _, unused := range []time.Duration{0, time.Hour} {
		_, err = engine.BuildCache(ctx, unused)
		w.must("BuildCache", unlessBusy(err))
		_, err = engine.PruneBuildCache(ctx, unused)
		w.must("PruneBuildCache", err)
	}
	follow, stop := context.WithCancel(ctx)
	w.must("FollowImages", engine.FollowImages(follow, func(string) { stop() }))
	return []string{
		"Containers", "Root", "Processes", "Restart", "Terminate", "Start", "Stop", "Leftovers", "RemoveContainer", "Images", "RemoveImage", "BuildCache", "PruneBuildCache",
		"FollowImages",
	}
}

// TestOtherContainersAreRefused asks the real engine, through the remediator's proxy, to act on a
// foreign container and on one of ours that must not be healed.
func TestOtherContainersAreRefused(t *testing.T) {
	w := newWorld(t)
	other := w.docker("run", "--detach", "--network=none", "--label="+w.mine, "--label=ghostrunner.role=runner", "--label=ghostrunner.heal=restart,backoff", w.image, "sleep")
	untouchable := w.container("ghostrunner.role=runner", "sleep")
	host, _ := w.proxy("remediator")
	// Without labels our client treats every container as its own: only the proxy refuses.
	engine, err := docker.New(docker.Options{Host: "unix://" + host})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{other, untouchable} {
		before := w.docker("inspect", "--format={{.State.StartedAt}} {{.State.Status}}", id)
		for name, act := range map[string]func() error{
			"stop":      func() error { return engine.Stop(t.Context(), id, time.Second) },
			"restart":   func() error { return engine.Restart(t.Context(), id, time.Second) },
			"terminate": func() error { return engine.Terminate(t.Context(), id) },
			"start":     func() error { return engine.Start(t.Context(), id) },
		} {
			if err := act(); err == nil || !strings.Contains(err.Error(), "ghostrunner-proxy") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if after := w.docker("inspect", "--format={{.State.StartedAt}} {{.State.Status}}", id); after != before {
			t.Errorf("the container is %s, it was %s", after, before)
		}
	}
	if _, err := engine.Processes(t.Context(), other); err == nil {
		t.Error("the processes of somebody else's container can be listed")
	}
}

// engineSocket is the socket of this machine's engine.
var engineSocket = strings.TrimPrefix(cmp.Or(os.Getenv("DOCKER_HOST"), "unix:///var/run/docker.sock"), "unix://")

// lines counts what the log follower reads.
type lines struct{ count, ended atomic.Int32 }

func (*lines) Started(string, string, bool)             {}
func (l *lines) Line(string, string, time.Time, []byte) { l.count.Add(1) }
func (*lines) CaughtUp(string, string)                  {}
func (l *lines) Ended(string, string)                   { l.ended.Add(1) }
func (*lines) Removed(string, string)                   {}

// world is what a test creates in the engine.
type world struct {
	*testing.T

	dir, image string
	mine       string // the label of everything that this test makes
	label      string // the label of what is within the proxy's reach
	logs       *clitest.Output
}

func newWorld(t *testing.T) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "gr") // t.TempDir can be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	n := time.Now().UnixNano()
	w := &world{T: t, dir: dir, mine: fmt.Sprintf("ghostrunner.proxy.test=%d", n), label: fmt.Sprintf("ghostrunner.proxy.ours=%d", n), logs: &clitest.Output{}}
	t.Cleanup(func() {
		_ = os.RemoveAll(dir)
		for kind, list := range map[string][]string{"rm": {"ps", "-aq", "--no-trunc"}, "rmi": {"images", "-aq", "--no-trunc"}} {
			if ids, _ := w.try(append(list, "--filter=label="+w.mine)...); ids != "" {
				_, _ = w.try(append([]string{kind, "--force"}, strings.Fields(ids)...)...)
			}
		}
	})
	w.image = w.newImage("")
	return w
}

// newImage imports an image that contains only one program with several roles.
func (w *world) newImage(ref string) string {
	w.Helper()
	program := filepath.Join(w.dir, "actor")
	if _, err := os.Stat(program); err != nil {
		cmd := exec.CommandContext(w.Context(), "go", "build", "-ldflags=-s -w", "-o", program, "../../internal/docker/testdata/actor")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			w.Fatalf("go build: %v\n%s", err, out)
		}
	}
	content, err := os.ReadFile(program)
	if err != nil {
		w.Fatal(err)
	}
	var archive bytes.Buffer
	tw := tar.NewWriter(&archive)
	w.must("tar", tw.WriteHeader(&tar.Header{Name: "actor", Mode: 0o755, Size: int64(len(content))}))
	_, err = tw.Write(content)
	w.must("tar", errors.Join(err, tw.Close()))
	cmd := exec.CommandContext(w.Context(), "docker", "import", "--change", `ENTRYPOINT ["/actor"]`,
		"--change", fmt.Sprintf("LABEL %s ref=%q", w.mine, ref), "-", ref)
	if ref == "" {
		cmd.Args = cmd.Args[:len(cmd.Args)-1]
	}
	cmd.Stdin = &archive
	out, err := cmd.Output()
	if err != nil {
		w.Fatalf("docker import: %v (these tests need a Docker engine and the docker command)", err)
	}
	return strings.TrimSpace(string(out))
}

// container starts a container of ours; labels come before the arguments.
func (w *world) container(labelsAndArgs ...string) string {
	w.Helper()
	args := []string{"run", "--detach", "--network=none", "--label=" + w.mine, "--label=" + w.label}
	i := slices.IndexFunc(labelsAndArgs, func(a string) bool { return !strings.Contains(a, "=") })
	for _, l := range labelsAndArgs[:i] {
		args = append(args, "--label="+l)
	}
	return w.docker(append(append(args, w.image), labelsAndArgs[i:]...)...)
}

// proxy starts the program and returns the socket that it listens on and the log, which all proxies
// of a test share.
func (w *world) proxy(client string, more ...string) (socket string, logs *clitest.Output) {
	w.Helper()
	socket, logs = filepath.Join(w.dir, fmt.Sprintf("%s-%d.sock", client, len(more))), w.logs
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan int, 1)
	go func() {
		done <- run(ctx, append([]string{
			"--client=" + client, "--docker.socket=" + w.relay(), "--docker.label=" + w.label, "--listen.socket=" + socket, "--log.level=debug",
		}, more...), io.Discard, logs)
	}()
	w.Cleanup(func() {
		stop()
		if code := <-done; code != 0 {
			w.Errorf("the proxy ended with %d:\n%s", code, logs)
		}
	})
	clitest.Until(w, "the proxy to listen", func() bool {
		return run(w.Context(), []string{"healthcheck", "--listen.socket=" + socket}, io.Discard, io.Discard) == 0
	})
	return socket, logs
}

// relay is between the proxy and the engine, for two things that a test cannot ask of a shared
// engine: to refuse HEAD /_ping once, as a starting one does, and to prune the build cache.
func (w *world) relay() (socket string) {
	w.Helper()
	socket = filepath.Join(w.dir, fmt.Sprintf("relay-%d.sock", time.Now().UnixNano()))
	l, err := (&net.ListenConfig{}).Listen(w.Context(), "unix", socket)
	if err != nil {
		w.Fatal(err)
	}
	forward := &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.Out.URL.Scheme, r.Out.URL.Host = "http", "docker" },
		FlushInterval: -1,
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", engineSocket)
		}},
	}
	var heads atomic.Int32
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch {
		case r.Method == http.MethodHead && r.UserAgent() == "ghostrunner" && heads.Add(1) == 1:
			rw.WriteHeader(http.StatusServiceUnavailable)
		case strings.HasSuffix(r.URL.Path, "/build/prune"):
			_, _ = io.WriteString(rw, `{"SpaceReclaimed":1}`)
		default:
			forward.ServeHTTP(rw, r)
		}
	})}
	go func() { _ = server.Serve(l) }()
	w.Cleanup(func() { _ = server.Close() })
	return socket
}

func (w *world) docker(args ...string) string {
	w.Helper()
	out, err := w.try(args...)
	if err != nil {
		w.Fatalf("docker %s: %v (these tests need a Docker engine and the docker command)", strings.Join(args, " "), err)
	}
	return out
}

func (w *world) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), clitest.WaitLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "docker", args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, &stderr)
	}
	return strings.TrimSpace(string(out)), nil
}

func (w *world) must(what string, err error) {
	w.Helper()
	if err != nil {
		w.Errorf("%s: %v", what, err)
	}
}
