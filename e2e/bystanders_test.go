package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// bystanders are things on the same engine that are none of our business.
var bystanders *others

// others is an unhealthy container that carries all our labels but belongs to another project, a dangling image without
// our label, and build cache.
type others struct {
	image, started string
	cache          []string // ids of what its build left
}

const bystander = "ghostrunner-e2e-bystander"

func newBystanders(ctx context.Context) (*others, error) {
	_ = exec.CommandContext(ctx, "docker", "rm", "--force", bystander).Run() // of a killed run
	buildx, err := exec.LookPath("docker-buildx")
	if err != nil {
		return nil, errors.New("docker-buildx is not built: run `make e2e`, which puts the pinned one first on PATH")
	}
	dir, err := os.MkdirTemp("", "bystander")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, "sleeper"), "./testdata/sleeper")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the sleeper: %w\n%s", err, out)
	}
	// Never the same bytes twice, so that the build leaves cache of its own.
	salt := time.Now().Format(time.RFC3339Nano)
	if err := os.WriteFile(filepath.Join(dir, "salt"), []byte(salt), 0o600); err != nil {
		return nil, err
	}
	dockerfile := "FROM scratch\nCOPY sleeper salt /\nENTRYPOINT [\"/sleeper\"]\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o600); err != nil {
		return nil, err
	}
	o := &others{}
	before, err := buildCache(ctx)
	if err != nil {
		return nil, err
	}
	if o.image, err = output(ctx, buildx, "build", "--quiet", "--load", dir); err != nil {
		return nil, err
	}
	if o.cache, err = buildCache(ctx); err != nil {
		return nil, err
	}
	o.cache = slices.DeleteFunc(o.cache, func(id string) bool { return slices.Contains(before, id) })
	if len(o.cache) == 0 {
		return nil, errors.New("the build left no cache: a prune could not be seen")
	}
	// A health command needs a shell, and this image has none: the container is unhealthy within seconds, for ever.
	if _, err = output(ctx, "docker", "run", "--detach", "--name", bystander, "--network=none",
		"--health-cmd=true", "--health-interval=1s", "--health-retries=1",
		"--label=com.docker.compose.project=somebody-else", "--label=ghostrunner.role=runner",
		"--label=ghostrunner.runner=ci-runner-9", "--label=ghostrunner.heal=restart,backoff", o.image); err != nil {
		return nil, err
	}
	o.started, err = containerRun(ctx)
	return o, err
}

// unharmed compares everything with what it was before the stack started.
func (o *others) unharmed(ctx context.Context) error {
	var errs []error
	if started, err := containerRun(ctx); err != nil || started != o.started {
		errs = append(errs, fmt.Errorf("somebody else's container was touched: %s, before %s (%w)", started, o.started, err))
	}
	if _, err := output(ctx, "docker", "image", "inspect", o.image); err != nil {
		errs = append(errs, fmt.Errorf("somebody else's dangling image is gone: %w", err))
	}
	now, err := buildCache(ctx)
	if err != nil {
		errs = append(errs, err)
	}
	gone := 0
	for _, id := range o.cache {
		if !slices.Contains(now, id) {
			gone++
		}
	}
	if gone > 0 {
		errs = append(errs, fmt.Errorf("%d of %d pieces of somebody else's build cache are gone", gone, len(o.cache)))
	}
	return errors.Join(errs...)
}

// containerRun identifies the one run of the container: it changes with every restart.
func containerRun(ctx context.Context) (string, error) {
	return output(ctx, "docker", "inspect", "--format={{.State.StartedAt}} {{.State.Pid}} {{.State.Running}}", bystander)
}

// remove cleans up after the whole test run.
func (o *others) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, _ = output(ctx, "docker", "rm", "--force", bystander)
	_, _ = output(ctx, "docker", "rmi", "--force", o.image)
}

// TestBystanders asks for the things of somebody else to be acted on. It needs nothing of the other tests and disturbs
// none of them; what they prune and restart must spare the bystanders too, so TestMain looks once more at the end.
func TestBystanders(t *testing.T) {
	ctx := t.Context()
	if err := stack.Await(ctx, "the bystander to be unhealthy", func(ctx context.Context) (bool, error) {
		health, err := output(ctx, "docker", "inspect", "--format={{.State.Health.Status}}", bystander)
		return health == "unhealthy", err
	}); err != nil {
		t.Fatal(err)
	}
	status, body, err := system.Get(ctx, system.Ports.Exporter, "/metrics")
	if err != nil || status != 200 {
		t.Fatalf("metrics: %d %v", status, err)
	}
	for _, name := range []string{bystander, "ci-runner-9"} {
		if strings.Contains(string(body), name) {
			t.Errorf("the exporter sees %s, which belongs to another project", name)
		}
	}

	refused := refusals(t, "no_target")
	for _, alert := range []map[string]string{
		{"alertname": "GhostrunnerRunnerUnhealthy", "remediation": "restart", "container": bystander, "runner": "ci-runner-9"},
		{"alertname": "GhostrunnerRunnerUnhealthy", "remediation": "restart", "container": bystander},
		{"alertname": "GhostrunnerWatchdogStorm", "remediation": "backoff", "runner": "ci-runner-9"},
	} {
		post(t, 202, payload(alert))
	}
	await(t, "three refusals", func(context.Context) (bool, error) { return refusals(t, "no_target") >= refused+3, nil })

	if err := bystanders.unharmed(ctx); err != nil {
		t.Error(err)
	}
}

// buildCache lists the ids of the engine's build cache. Those that last for one build alone, such as its context, are left out.
func buildCache(ctx context.Context) (ids []string, err error) {
	out, err := output(ctx, "docker-buildx", "du", "--format=json")
	for line := range strings.Lines(out) {
		var record struct{ ID, Type string }
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			return nil, fmt.Errorf("docker-buildx du: %w: %s", err, line)
		}
		if record.Type == "regular" {
			ids = append(ids, record.ID)
		}
	}
	return ids, err
}

// output runs a command and returns its trimmed standard output.
func output(ctx context.Context, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s %s: %w: %s", filepath.Base(name), args[0], err, strings.TrimSpace(stderr.String()))
	}
	return strings.TrimSpace(string(out)), nil
}
