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

// foreign are objects on the same engine that do not belong to ghostrunner.
var foreign *foreignObjects

// foreignObjects are an unhealthy container of another project that has all our labels, a dangling
// image without our label, and build cache.
type foreignObjects struct {
	image, started string
	cache          []string // ids of what the build left
}

const foreignContainer = "ghostrunner-e2e-foreign"

func createForeignObjects(ctx context.Context) (*foreignObjects, error) {
	_ = exec.CommandContext(ctx, "docker", "rm", "--force", foreignContainer).Run() // of a killed run
	buildx, err := exec.LookPath("docker-buildx")
	if err != nil {
		return nil, errors.New("docker-buildx is not built: run `make e2e`, which puts the pinned one first on PATH")
	}
	dir, err := os.MkdirTemp("", "foreign")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(dir, "victim"), "./testdata/victim")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build the victim: %w\n%s", err, out)
	}
	// Unique bytes, so that the build leaves its own cache.
	salt := time.Now().Format(time.RFC3339Nano)
	if err := os.WriteFile(filepath.Join(dir, "salt"), []byte(salt), 0o600); err != nil {
		return nil, err
	}
	dockerfile := "FROM scratch\nCOPY victim salt /\nENTRYPOINT [\"/victim\"]\n"
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile), 0o600); err != nil {
		return nil, err
	}
	o := &foreignObjects{}
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
		return nil, errors.New("the build left no cache")
	}
	// A health command needs a shell, which this image lacks: the container is unhealthy at once
	// and stays so.
	if _, err = output(ctx, "docker", "run", "--detach", "--name", foreignContainer, "--network=none",
		"--health-cmd=true", "--health-interval=1s", "--health-retries=1",
		"--label=com.docker.compose.project=other-project", "--label=ghostrunner.role=runner",
		"--label=ghostrunner.runner=ci-runner-9", "--label=ghostrunner.heal=restart,backoff", o.image); err != nil {
		return nil, err
	}
	o.started, err = containerRun(ctx)
	return o, err
}

// unchanged returns an error if anything differs from before the stack started.
func (o *foreignObjects) unchanged(ctx context.Context) error {
	var errs []error
	if started, err := containerRun(ctx); err != nil || started != o.started {
		errs = append(errs, fmt.Errorf("the foreign container changed: %s, before %s (%w)", started, o.started, err))
	}
	if _, err := output(ctx, "docker", "image", "inspect", o.image); err != nil {
		errs = append(errs, fmt.Errorf("the foreign dangling image is gone: %w", err))
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
		errs = append(errs, fmt.Errorf("%d of %d entries of the foreign build cache are gone", gone, len(o.cache)))
	}
	return errors.Join(errs...)
}

// containerRun changes with every restart of the container.
func containerRun(ctx context.Context) (string, error) {
	return output(ctx, "docker", "inspect", "--format={{.State.StartedAt}} {{.State.Pid}} {{.State.Running}}", foreignContainer)
}

func (o *foreignObjects) remove() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, _ = output(ctx, "docker", "rm", "--force", foreignContainer)
	_, _ = output(ctx, "docker", "rmi", "--force", o.image)
}

// TestForeignObjectsAreNotTouched asks for actions on foreign objects. TestMain checks them again
// after all tests, which prune and restart.
func TestForeignObjectsAreNotTouched(t *testing.T) {
	ctx := t.Context()
	if err := stack.Await(ctx, "the foreign container to be unhealthy", func(ctx context.Context) (bool, error) {
		health, err := output(ctx, "docker", "inspect", "--format={{.State.Health.Status}}", foreignContainer)
		return health == "unhealthy", err
	}); err != nil {
		t.Fatal(err)
	}
	status, body, err := system.Get(ctx, system.Ports.Exporter, "/metrics")
	if err != nil || status != 200 {
		t.Fatalf("metrics: %d %v", status, err)
	}
	for _, name := range []string{foreignContainer, "ci-runner-9"} {
		if strings.Contains(string(body), name) {
			t.Errorf("the exporter sees %s, which belongs to another project", name)
		}
	}

	refused := refusals(t, "no_target")
	post(t, stack.UnhealthyAlert(foreignContainer, "ci-runner-9"), stack.UnhealthyAlert(foreignContainer, ""), stack.StormAlert("ci-runner-9"))
	await(t, "three refusals", func(context.Context) (bool, error) { return refusals(t, "no_target") >= refused+3, nil })

	if err := foreign.unchanged(ctx); err != nil {
		t.Error(err)
	}
}

// buildCache lists the ids of the engine's build cache, without what exists for one build only.
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
