package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// container is what `docker inspect` says of one.
type container struct {
	ID    string `json:"Id"`
	Name  string
	State struct {
		Status   string
		ExitCode int
		Health   *struct{ Status string }
	}
	Config struct {
		User   string
		Labels map[string]string
	}
	HostConfig struct {
		ReadonlyRootfs bool
		CapDrop        []string
		CapAdd         []string
		SecurityOpt    []string
		Memory         int64
		PidsLimit      int64
		GroupAdd       []string
		NetworkMode    string
		RestartPolicy  struct{ Name string }
		LogConfig      struct{ Config map[string]string }
		PortBindings   map[string][]struct{ HostIP string }
	}
	Mounts          []struct{ Source, Destination string }
	NetworkSettings struct {
		Networks map[string]struct{ IPAddress string }
	}
}

func (c container) service() string { return c.Config.Labels["com.docker.compose.service"] }

// containers inspects every container of the stack.
func containers(t *testing.T) (list []container) {
	t.Helper()
	names, err := system.Containers(t.Context())
	if err != nil || len(names) < 13 {
		t.Fatalf("containers: %v, %v", names, err)
	}
	text, err := output(t.Context(), "docker", append([]string{"inspect"}, names...)...)
	if err == nil {
		err = json.Unmarshal([]byte(text), &list)
	}
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// TestEveryContainerIsWell wants every program of the stack to be healthy, and init to have ended
// well.
func TestEveryContainerIsWell(t *testing.T) {
	await(t, "every container to be healthy", func(context.Context) (bool, error) {
		var errs []error
		for _, c := range containers(t) {
			switch once := c.HostConfig.RestartPolicy.Name == "no"; {
			case once && (c.State.Status != "exited" || c.State.ExitCode != 0):
				errs = append(errs, fmt.Errorf("%s: %s with %d, want exited with 0", c.Name, c.State.Status, c.State.ExitCode))
			case once, strings.HasPrefix(c.service(), "lab"): // the simulated world has no health check
			case c.State.Health == nil:
				t.Fatalf("%s has no health check", c.Name)
			case c.State.Status != "running" || c.State.Health.Status != "healthy":
				errs = append(errs, fmt.Errorf("%s is %s, %s", c.Name, c.State.Status, c.State.Health.Status))
			}
		}
		return len(errs) == 0, errors.Join(errs...)
	})
	targets, _, err := system.Query(t.Context(), `count(up == 1) == count(up)`)
	if err != nil || targets < 5 {
		t.Errorf("%v Prometheus targets are up, want all of at least 5 (%v)", targets, err)
	}
}

// TestConfinement wants every container to have no more rights than it needs, and bounded
// resources.
func TestConfinement(t *testing.T) {
	sockets := map[string]string{}
	for _, c := range containers(t) {
		if strings.HasPrefix(c.service(), "lab") {
			continue
		}
		t.Run(c.service(), func(t *testing.T) {
			h := c.HostConfig
			if h.Memory == 0 || h.PidsLimit <= 0 || h.LogConfig.Config["max-size"] == "" || !slices.Contains(h.SecurityOpt, "no-new-privileges:true") {
				t.Errorf("not bounded: memory %d, pids %d, log %v, %v", h.Memory, h.PidsLimit, h.LogConfig.Config, h.SecurityOpt)
			}
			for port, bindings := range h.PortBindings {
				for _, b := range bindings {
					if b.HostIP != "127.0.0.1" {
						t.Errorf("port %s is published on %q", port, b.HostIP)
					}
				}
			}
			for _, m := range c.Mounts {
				if strings.HasSuffix(m.Source, "docker.sock") && (c.service() != "init" || len(h.GroupAdd) > 0) { // which sees it, and may not open it
					sockets[c.service()] = m.Destination
				}
			}
			if strings.HasPrefix(c.service(), "runner-") || c.service() == "mongo" {
				return // jobs write where they like; the database's image begins as root
			}
			if !h.ReadonlyRootfs && c.service() != "init" { // Compose copies the PAT into it
				t.Error("its file system can be written")
			}
			if !slices.Equal(h.CapDrop, []string{"ALL"}) || len(h.CapAdd) > 0 {
				t.Errorf("capabilities: without %v, with %v", h.CapDrop, h.CapAdd)
			}
			if c.Config.User == "" || strings.HasPrefix(c.Config.User, "0") {
				t.Errorf("runs as %q", c.Config.User)
			}
		})
	}
	if len(sockets) != 2 || sockets["exporter-proxy"] == "" || sockets["remediator-proxy"] == "" {
		t.Errorf("Docker's socket is open to %v, want it to be to the two proxies alone", sockets)
	}
}

// TestJobsAreOutside tries to reach all our programs, by address and port, from the network of the
// jobs.
func TestJobsAreOutside(t *testing.T) {
	ctx := t.Context()
	image, err := output(ctx, "docker", "inspect", "--format={{.Config.Image}}", system.Container("prometheus-1"))
	if err != nil {
		t.Fatal(err)
	}
	from := func(network, url string) error {
		_, err := output(ctx, "docker", "run", "--rm", "--label=com.docker.compose.project="+project, "--network="+project+"_"+network,
			"--entrypoint=/bin/wget", image, "-q", "-T", "3", "-O", "/dev/null", url)
		return err
	}
	ports := map[string]string{
		"exporter": "10068/-/healthy", "remediator": "10069/-/healthy", "prometheus": "9090/-/healthy", "alertmanager": "9093/-/healthy", "grafana": "3000/api/health",
	}
	var tries sync.WaitGroup
	for _, c := range containers(t) {
		port, isOurs := ports[c.service()]
		if !isOurs {
			continue
		}
		delete(ports, c.service())
		url := "http://" + c.NetworkSettings.Networks[project+"_monitoring"].IPAddress + ":" + port
		tries.Go(func() {
			if err := from("monitoring", url); err != nil {
				t.Errorf("%s cannot be reached from where it should: %v", c.service(), err)
			}
		})
		tries.Go(func() {
			if err := from("jobs", url); err == nil {
				t.Errorf("jobs reach %s", c.service())
			}
		})
	}
	tries.Wait()
	if len(ports) > 0 {
		t.Errorf("not found: %v", ports)
	}
	lab, err := output(ctx, "docker", "inspect", "--format={{.Config.Image}}", system.Container("ci-mongo"))
	if err != nil {
		t.Fatal(err)
	}
	check := []string{"run", "--rm", "--label=com.docker.compose.project=" + project, "--network=" + project + "_jobs", lab, "service", "--check", "--listen-address=mongo:6380"}
	if _, err := output(ctx, "docker", check...); err != nil {
		t.Errorf("jobs do not reach the database: %v", err)
	}
}

// TestGrafana asks Grafana, or what stands in for it, for each dashboard and for its data source.
func TestGrafana(t *testing.T) {
	password, err := system.File(t.Context(), "grafana", "/run/ghostrunner/grafana-password")
	if err != nil || len(password) < 40 {
		t.Fatalf("the password has %d characters: %v", len(password), err)
	}
	req := func(path string) (int, []byte) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://x", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.SetBasicAuth("admin", password)
		status, body, err := system.Do(t.Context(), http.MethodGet, system.Ports.Grafana, path, r.Header, nil)
		if err != nil {
			t.Fatal(err)
		}
		return status, body
	}
	if status, body := req("/api/datasources/uid/prometheus/health"); status != 200 {
		t.Errorf("the data source: %d %s", status, body)
	}
	var found []struct{ UID string }
	status, body := req("/api/search?type=dash-db")
	if err := json.Unmarshal(body, &found); status != 200 || err != nil {
		t.Fatalf("%d %s: %v", status, body, err)
	}
	files, err := filepath.Glob("../dashboards/*.json")
	if err != nil || len(files) == 0 {
		t.Fatalf("no dashboard: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var want struct{ UID string }
		if err := json.Unmarshal(text, &want); err != nil || !slices.Contains(found, want) {
			t.Errorf("%s is not shown (%v)", file, err)
		}
	}
	if status, _, err := system.Get(t.Context(), system.Ports.Grafana, "/api/search"); err != nil || status != 401 {
		t.Errorf("without a password: %d %v", status, err)
	}
}

// TestWrongValues starts another stack with wrong values, and then replaces its PAT by another one.
func TestWrongValues(t *testing.T) {
	ctx := t.Context()
	other, err := stack.New(stack.Options{Project: project + "-pat", FirstPort: 21168, Out: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Prepare(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := other.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	up := []string{"up", "--detach", "--no-build", "--pull=never"}
	wrong := map[string]string{"GITHUB_PAT": "your-token-here", "REPO_OWNER": "<owner>", "REPO_NAME": "widgets\r", "DOCKER_GID": "123456", "CLOCK_MODE": "slew"}
	err = other.Compose(ctx, wrong, append(up, "exporter")...)
	// The last line on the terminal. Compose shows nothing of what init printed.
	if want := `service "init" didn't complete successfully: exit 1`; err == nil || !strings.HasSuffix(err.Error(), want) {
		t.Errorf("%v; want the end to be %s", err, want)
	}
	said, err := other.Log(ctx, "init")
	if lines := strings.Count(said, "\n"); err != nil || lines != len(wrong)+1 {
		t.Errorf("init printed %d lines, want a heading and one for each of %d values (%v):\n%s", lines, len(wrong), err, said)
	}
	for name := range wrong {
		if !strings.Contains(said, "  "+name+": ") {
			t.Errorf("init does not name %s:\n%s", name, said)
		}
	}
	if state, err := output(ctx, "docker", "inspect", "--format={{.State.Status}}", other.Container("exporter-1")); err != nil || state != "created" {
		t.Errorf("the exporter is %s: %v", state, err)
	}
	const first, second = "ghp_0123456789abcdefghijklmnopqrstuvwxyz", "ghp_zyxwvutsrqponmlkjihgfedcba9876543210"
	started := ""
	for _, pat := range []string{first, second} {
		if err := other.Compose(ctx, map[string]string{"GITHUB_PAT": pat}, append(up, "exporter")...); err != nil {
			t.Fatal(err)
		}
		if got, err := other.File(ctx, "exporter", "/run/github/pat"); err != nil || got != pat {
			t.Errorf("the exporter reads %q, want %q (%v)", got, pat, err)
		}
		at, err := output(ctx, "docker", "inspect", "--format={{.State.StartedAt}}", other.Container("exporter-1"))
		if err != nil || started != "" && at != started {
			t.Errorf("the exporter was restarted for a new PAT (%v)", err)
		}
		started = at
	}
}

// TestUpgrade gives one program another image, as `docker compose pull` or a build does. Only that
// program gets a new container, and it keeps its state.
func TestUpgrade(t *testing.T) {
	ctx := t.Context()
	runs := func() map[string]string {
		all := map[string]string{}
		for _, c := range containers(t) {
			all[c.service()] = c.ID
		}
		return all
	}
	before, secret := runs(), token(t)
	known, _, err := system.Metric(ctx, system.Ports.Remediator, "ghostrunner_watchdog_fires_total", nil)
	if err != nil {
		t.Fatal(err)
	}
	image, err := output(ctx, "docker", "inspect", "--format={{.Config.Image}}", system.Container("remediator-1"))
	if err != nil {
		t.Fatal(err)
	}
	next := strings.Split(image, ":")[0] + ":next"
	// Another image with the same program: a label is enough.
	build := exec.CommandContext(ctx, "docker", "build", "--quiet", "--tag", next, "-")
	build.Stdin = strings.NewReader("FROM " + image + "\nLABEL next=true\n")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() { _, _ = output(context.Background(), "docker", "rmi", next) })
	up := []string{"up", "--detach", "--no-build", "--pull=never"}
	if err := system.Compose(ctx, map[string]string{"REMEDIATOR_IMAGE": next}, up...); err != nil {
		t.Fatal(err)
	}
	for service, id := range runs() {
		if isNew := service == "remediator"; (id != before[service]) != isNew {
			t.Errorf("%s: container %.12s, before %.12s; anew: want %v", service, id, before[service], isNew)
		}
	}
	await(t, "the remediator to know what it knew", func(ctx context.Context) (bool, error) {
		now, _, err := system.Metric(ctx, system.Ports.Remediator, "ghostrunner_watchdog_fires_total", nil)
		return now >= known, err
	})
	if now, err := system.WebhookToken(ctx); err != nil || now != secret {
		t.Errorf("the webhook token is another one (%v)", err)
	}
	if err := system.Compose(ctx, nil, up...); err != nil { // for the tests that follow
		t.Fatal(err)
	}
}
