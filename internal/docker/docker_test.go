package docker

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	cerrdefs "github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// The tests of this package run against the Docker engine of this machine. Every object that they
// make carries testLabel with a value of that test, and is removed with it.
const testLabel = "ghostrunner.engine.test"

// patience is how long a test waits for what should come much sooner, on a busy machine too.
const patience = 2 * time.Minute

// docker is a plain client, the tests' own hand on the engine; host "" is that of the environment.
func docker(t testing.TB, host string) *client.Client {
	t.Helper()
	opts := []client.Opt{client.FromEnv, client.WithAPIVersionNegotiation()}
	if host != "" {
		opts = append(opts, client.WithHost(host))
	}
	cli, err := client.NewClientWithOpts(opts...)
	if err != nil {
		t.Fatalf("docker client: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := cli.Ping(ctx); err != nil {
		t.Fatalf("these tests need a Docker engine (start one, or set DOCKER_HOST): %v", err)
	}
	return cli
}

// actor is the tar of an image that holds nothing but the static testdata/actor.
var actor = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "ghostrunner-actor")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "actor")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-o", file, "./testdata/actor")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build actor: %w\n%s", err, out)
	}
	bin, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "actor", Mode: 0o755, Size: int64(len(bin))}); err != nil {
		return nil, err
	}
	if _, err := w.Write(bin); err != nil {
		return nil, err
	}
	return b.Bytes(), w.Close()
})

// world is what one test makes in the engine.
type world struct {
	*testing.T
	cli   *client.Client
	label string // KEY=VALUE of this test
	image string // the id of the actor's image
}

// newWorld makes the image and removes it, with all containers of the test, at the end.
func newWorld(t *testing.T) *world { return newWorldOn(t, "") }

func newWorldOn(t *testing.T, host string) *world {
	t.Helper()
	w := &world{T: t, cli: docker(t, host), label: fmt.Sprintf("%s=%s-%d", testLabel, t.Name(), time.Now().UnixNano())}
	w.Cleanup(w.clean)
	w.image = w.newImage("")
	return w
}

func (w *world) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), patience) // t.Context has ended
	defer cancel()
	mine := filters.NewArgs(filters.Arg("label", w.label))
	list, err := w.cli.ContainerList(ctx, container.ListOptions{All: true, Filters: mine})
	if err != nil {
		w.Errorf("clean up: %v", err)
	}
	for _, c := range list {
		if err := w.cli.ContainerRemove(ctx, c.ID, container.RemoveOptions{Force: true}); err != nil && !cerrdefs.IsNotFound(err) {
			w.Errorf("clean up: %v", err)
		}
	}
	images, err := w.cli.ImageList(ctx, image.ListOptions{Filters: mine})
	if err != nil {
		w.Errorf("clean up: %v", err)
	}
	for _, i := range images {
		if _, err := w.cli.ImageRemove(ctx, i.ID, image.RemoveOptions{Force: true}); err != nil && !cerrdefs.IsNotFound(err) {
			w.Errorf("clean up: %v", err)
		}
	}
}

// newImage imports the actor under that name, or without one, with the test's label and perhaps
// more.
func (w *world) newImage(ref string, labels ...string) string {
	w.Helper()
	layer, err := actor()
	if err != nil {
		w.Fatal(err)
	}
	changes := []string{`ENTRYPOINT ["/actor"]`, "LABEL " + quoted(w.label)}
	for _, l := range labels {
		changes = append(changes, "LABEL "+quoted(l))
	}
	body, err := w.cli.ImageImport(w.Context(), image.ImportSource{Source: bytes.NewReader(layer), SourceName: "-"}, ref, image.ImportOptions{Changes: changes})
	if err != nil {
		w.Fatalf("import image: %v", err)
	}
	defer body.Close()
	out, err := io.ReadAll(body)
	if err != nil {
		w.Fatalf("import image: %v", err)
	}
	i := strings.Index(string(out), "sha256:")
	if i < 0 {
		w.Fatalf("import image: %s", out)
	}
	return string(out[i : i+len("sha256:")+64])
}

func quoted(pair string) string {
	k, v, _ := strings.Cut(pair, "=")
	return fmt.Sprintf("%q=%q", k, v)
}

// spec says how a container differs from a runner that sleeps.
type spec struct {
	image  string // default: the world's
	name   string
	args   []string
	labels []string // besides the role, the runner and the test's label
	slot   string   // the runner label
	bare   bool     // no role
	tty    bool
	health bool
	young  bool   // its health is "starting" until it was healthy once
	seldom bool   // its health is looked at too, each hour
	grace  int    // the container's own stop timeout in seconds
	volume string // path of an anonymous volume
	host   container.HostConfig
}

// create makes a container; run also starts it.
func (w *world) create(s spec) string {
	w.Helper()
	if s.args == nil {
		s.args = []string{"sleep"}
	}
	cfg := &container.Config{Image: cmp.Or(s.image, w.image), Cmd: s.args, Tty: s.tty, Labels: map[string]string{}}
	if s.grace > 0 {
		cfg.StopTimeout = &s.grace
	}
	labels := append([]string{w.label}, s.labels...)
	if !s.bare {
		labels = append(labels, runner.LabelRole+"=runner")
	}
	if s.slot != "" {
		labels = append(labels, runner.LabelRunner+"="+s.slot)
	}
	for _, l := range labels {
		k, v, _ := strings.Cut(l, "=")
		cfg.Labels[k] = v
	}
	if s.health || s.seldom {
		cfg.Healthcheck = &container.HealthConfig{
			Test: []string{"CMD", "/actor", "check"}, Interval: 200 * time.Millisecond, Timeout: patience, Retries: 1,
		}
	}
	if s.seldom {
		cfg.Healthcheck.Interval = time.Hour
	}
	if s.young {
		cfg.Healthcheck.StartPeriod = time.Hour
	}
	if s.volume != "" {
		cfg.Volumes = map[string]struct{}{s.volume: {}}
	}
	s.host.NetworkMode = "none"
	made, err := w.cli.ContainerCreate(w.Context(), cfg, &s.host, nil, nil, s.name)
	if err != nil {
		w.Fatalf("create container: %v", err)
	}
	return made.ID
}

func (w *world) run(s spec) string {
	w.Helper()
	id := w.create(s)
	w.do("start", w.cli.ContainerStart(w.Context(), id, container.StartOptions{}))
	return id
}

// stubborn runs a container that ignores SIGTERM already.
func (w *world) stubborn(grace int) string {
	w.Helper()
	id := w.run(spec{args: []string{"stubborn"}, grace: grace})
	w.spoken(id)
	return id
}

// spoken waits for the first byte that a container prints: what it does before that is done.
func (w *world) spoken(id string) {
	w.Helper()
	out, err := w.cli.ContainerLogs(w.Context(), id, container.LogsOptions{ShowStdout: true, Follow: true})
	w.do("logs", err)
	defer out.Close()
	_, err = out.Read(make([]byte, 1))
	w.do("wait for the first output", err)
}

// do fails the test if a step of its preparation failed.
func (w *world) do(what string, err error) {
	w.Helper()
	if err != nil {
		w.Fatalf("%s: %v", what, err)
	}
}

func (w *world) signal(id, sig string) {
	w.Helper()
	w.do("signal", w.cli.ContainerKill(w.Context(), id, sig))
}

func (w *world) restart(id string) {
	w.Helper()
	one := 1
	w.do("restart", w.cli.ContainerRestart(w.Context(), id, container.StopOptions{Timeout: &one}))
}

func (w *world) remove(id string) {
	w.Helper()
	w.do("remove", w.cli.ContainerRemove(w.Context(), id, container.RemoveOptions{Force: true}))
}

func (w *world) state(id string) *container.State {
	w.Helper()
	c, err := w.cli.ContainerInspect(w.Context(), id)
	w.do("inspect", err)
	return c.State
}

// engine returns an Engine that is confined to the test.
func (w *world) engine(host string) *Engine {
	w.Helper()
	e, err := New(Options{Host: host, Labels: []string{w.label}, Logger: slog.New(slog.NewTextHandler(w.Output(), nil))})
	w.do("engine", err)
	return e
}

// watched returns an Engine that is watching and up.
func (w *world) watched(host string) *Engine {
	w.Helper()
	e := w.engine(host)
	w.background("watch", e.Watch)
	w.await(e, "engine up", func(s snapshot) bool { return s.up })
	return e
}

// background runs f until the end of the test and expects it to return nil.
func (w *world) background(what string, f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				w.Errorf("%s: %v", what, err)
			}
		case <-time.After(patience):
			w.Errorf("%s did not end with its context", what)
		}
	})
	w.Cleanup(stop)
	return stop
}

// await waits until the snapshot satisfies the condition, and returns it with the time at which it
// did.
func (w *world) await(e *Engine, what string, ok func(snapshot) bool) (snapshot, time.Time) {
	w.Helper()
	timeout := time.After(patience)
	for {
		changed := e.table.wait()
		if s := *e.table.snap.Load(); ok(s) {
			return s, time.Now()
		}
		select {
		case <-changed:
		case <-timeout:
			w.Fatalf("waited %s for %s, have %+v", patience, what, *e.table.snap.Load())
		}
	}
}

// one returns a condition on the container with that id, which must be there.
func one(id string, ok func(runner.Container) bool) func(snapshot) bool {
	return func(s snapshot) bool {
		for _, c := range s.containers {
			if c.ID == id {
				return ok(c)
			}
		}
		return false
	}
}

// proxy stands between an Engine and the real socket, to be cut and restored.
type proxy struct {
	t        testing.TB
	path     string
	upstream string

	mu       sync.Mutex
	listener net.Listener
	conns    map[net.Conn]struct{}
	stalled  chan struct{} // closed while data flows; nil never
}

// newProxy returns a proxy that is open, and its address.
func newProxy(w *world) (*proxy, string) {
	w.Helper()
	upstream, ok := strings.CutPrefix(w.cli.DaemonHost(), "unix://")
	if !ok {
		w.Fatalf("this test needs a Unix socket, have %s", w.cli.DaemonHost())
	}
	dir, err := os.MkdirTemp("", "gr") // t.TempDir can be too long for a socket
	w.do("temp dir", err)
	p := &proxy{t: w, path: filepath.Join(dir, "d.sock"), upstream: upstream, conns: map[net.Conn]struct{}{}}
	flowing := make(chan struct{})
	close(flowing)
	p.stalled = flowing
	w.Cleanup(func() {
		p.cut()
		_ = os.RemoveAll(dir)
	})
	p.restore()
	return p, "unix://" + p.path
}

func (p *proxy) restore() {
	l, err := new(net.ListenConfig).Listen(context.Background(), "unix", p.path)
	if err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	p.listener = l
	p.mu.Unlock()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
}

// cut closes the socket and every connection, as the death of the engine does.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.listener != nil {
		_ = p.listener.Close()
		p.listener = nil
	}
	for c := range p.conns {
		c.Close()
	}
	clear(p.conns)
}

// stall keeps the connections but lets nothing through, as an engine that hangs, until the returned
// func is called.
func (p *proxy) stall() (resume func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	gate := make(chan struct{})
	p.stalled = gate
	return func() { close(gate) }
}

func (p *proxy) serve(c net.Conn) {
	up, err := new(net.Dialer).DialContext(context.Background(), "unix", p.upstream)
	if err != nil {
		c.Close()
		return
	}
	p.mu.Lock()
	if p.listener == nil {
		p.mu.Unlock()
		c.Close()
		up.Close()
		return
	}
	p.conns[c], p.conns[up] = struct{}{}, struct{}{}
	p.mu.Unlock()
	defer func() {
		c.Close()
		up.Close()
		p.mu.Lock()
		delete(p.conns, c)
		delete(p.conns, up)
		p.mu.Unlock()
	}()
	go func() {
		_, _ = io.Copy(gated{up, p}, c)
		up.Close()
	}()
	_, _ = io.Copy(gated{c, p}, up)
}

// gated is a writer that waits while the proxy is stalled.
type gated struct {
	w io.Writer
	p *proxy
}

func (g gated) Write(b []byte) (int, error) {
	g.p.mu.Lock()
	gate := g.p.stalled
	g.p.mu.Unlock()
	<-gate
	return g.w.Write(b)
}
