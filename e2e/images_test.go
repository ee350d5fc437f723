package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// maxImage is the maximum size of our images in bytes.
const maxImage = 25_000_000

// arches: CI builds one architecture, because another takes minutes; `make images-test` builds
// both.
var arches = flag.String("arch", runtime.GOARCH, "comma list of the architectures whose images are built")

// built are the images of the shipped Dockerfiles: by architecture and program, chronyd's, and the
// runner's.
var built struct {
	ours           map[string]map[string]string
	chrony, runner string
}

// buildImages builds the images that the selected tests need. It runs before the stack is started,
// because the gigabytes that it writes would make the stack prune.
func buildImages(ctx context.Context, s *stack.Stack) (err error) {
	wanted := func(test string) bool {
		pattern := flag.Lookup("test.run").Value.String()
		matched, matchErr := regexp.MatchString(pattern, test)
		err = errors.Join(err, matchErr)
		return matched // an empty pattern matches everything
	}
	if wanted("TestRunnerImage") {
		if built.runner, err = s.RunnerImage(ctx, stack.RunnerVersion); err != nil {
			return err
		}
	}
	if !wanted("TestImages") {
		return err
	}
	built.ours = map[string]map[string]string{}
	for arch := range strings.SplitSeq(*arches, ",") {
		if built.ours[arch], err = s.OurImages(ctx, arch); err != nil {
			return err
		}
	}
	built.chrony, err = s.ChronyImage(ctx)
	return err
}

// TestImages checks the images of the shipped Dockerfiles and starts them with compose.yaml and
// observe.yaml, so that chronyd does not set this machine's clock.
func TestImages(t *testing.T) {
	ctx := t.Context()
	for arch, images := range built.ours {
		for program, ref := range images {
			text, err := output(ctx, "docker", "image", "inspect", "--format={{json .}}", ref)
			if err != nil {
				t.Fatal(err)
			}
			var image struct {
				Size         int64
				Architecture string
				Config       struct {
					User       string
					Env        []string
					Entrypoint []string
				}
			}
			if err := json.Unmarshal([]byte(text), &image); err != nil {
				t.Fatal(err)
			}
			t.Logf("%s for %s: %.1f MB", program, arch, float64(image.Size)/1e6)
			if image.Size > maxImage || image.Architecture != arch || image.Config.User != "nobody" || !slices.Equal(image.Config.Entrypoint, []string{"/ghostrunner"}) {
				t.Errorf("%s: %+v", ref, image)
			}
			holdsOneProgram(ctx, t, ref)
		}
	}
	images := built.ours[runtime.GOARCH]

	other, err := stack.New(stack.Options{
		Project: project + "-images", FirstPort: 21268, Out: io.Discard, Bare: true, Files: []string{"compose/observe.yaml"},
		Env: map[string]string{
			"EXPORTER_IMAGE": images["exporter"], "REMEDIATOR_IMAGE": images["remediator"], "PROXY_IMAGE": images["proxy"],
			"SETUP_IMAGE": images["setup"], "CHRONY_IMAGE": built.chrony,
			"GITHUB_API_URL": "http://127.0.0.1:1", "NTP_SERVERS": "127.0.0.1", "HEALTH_INTERVAL": "2s",
		},
	})
	if err == nil {
		err = other.Prepare(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			other.Diagnose(context.Background(), t.Output())
		}
		if err := other.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := other.Compose(ctx, nil, "up", "--detach", "--no-build", "--pull=never", "exporter", "remediator", "chrony"); err != nil {
		t.Fatal(err)
	}
	for _, service := range []string{"exporter", "remediator", "chrony", "exporter-proxy", "remediator-proxy"} {
		await(t, service+" to be healthy", func(ctx context.Context) (bool, error) {
			health, err := output(ctx, "docker", "inspect", "--format={{.State.Health.Status}}", other.Container(service+"-1"))
			return health == "healthy", err
		})
	}
	// Each program reaches what it needs: chronyd over the network, the engine through its proxy,
	// its own files.
	for metric, port := range map[string]int{
		`ghostrunner_clock_synchronized{source="chrony"} 0`: other.Ports.Exporter, "ghostrunner_docker_up 1": other.Ports.Exporter,
		`ghostrunner_disk_free_bytes{path="/var/lib/docker"}`: other.Ports.Exporter, "ghostrunner_remediator_journal_up 1": other.Ports.Remediator,
	} {
		await(t, metric, func(ctx context.Context) (bool, error) {
			page, err := other.Page(ctx, port)
			return strings.Contains(string(page), metric), err
		})
	}
	caps, err := output(ctx, "docker", "inspect", "--format={{.HostConfig.CapAdd}}", other.Container("chrony-1"))
	if err != nil || strings.Contains(caps, "SYS_TIME") {
		t.Errorf("chronyd may set the clock: %s %v", caps, err)
	}
}

// The image for jobs has shells and tools, but no program that changes its user, no device, no file
// that everyone can write, and nothing of the PAT.
func TestRunnerImage(t *testing.T) {
	ctx := t.Context()
	programs, problems := inspectFiles(ctx, t, built.runner)
	if !slices.Contains(programs, "/usr/bin/sudo") || !slices.Contains(programs, "/usr/local/bin/ghostrunner-runner") {
		t.Errorf("not the runner's files: %d programs", len(programs))
	}
	for _, problem := range problems {
		if !strings.HasSuffix(problem, " is a shell") {
			t.Error(problem)
		}
	}
	for _, args := range [][]string{{"image", "inspect", built.runner}, {"history", "--no-trunc", built.runner}} {
		if text, err := output(ctx, "docker", args...); err != nil || strings.Contains(text, "GITHUB_PAT") || !strings.Contains(text, "ghostrunner-runner") {
			t.Errorf("docker %s: %v\n%s", args[0], err, text)
		}
	}
	// The supervisor grants sudo, which the image does not: see compose/sudo.yaml.
	for sudo, want := range map[string]string{"true": "0", "false": ""} {
		name := startRunner(t, "ci-sudo-"+sudo, "--env=RUNNER_SUDO="+sudo)
		got, err := output(ctx, "docker", "exec", "--user=1001:1001", name, "sudo", "-n", "id", "-u")
		if got != want || (err == nil) != (sudo == "true") {
			t.Errorf("RUNNER_SUDO=%s: a job runs as %q, %v", sudo, got, err)
		}
	}
}

// startRunner starts the shipped image as it is, without a time scale, and waits until it listens.
// When the test ends the container is stopped, which must delete the registration.
func startRunner(t *testing.T, slot string, more ...string) (container string) {
	t.Helper()
	container = project + "-" + slot
	args := append([]string{
		"run", "--detach", "--name=" + container, "--label=com.docker.compose.project=" + project, "--network=" + project + "_jobs",
		"--env=GITHUB_PAT=" + stack.Token, "--env=REPO_OWNER=acme", "--env=REPO_NAME=widgets", "--env=RUNNER_NAME=" + slot,
		"--env=GITHUB_API_URL=http://lab:10070", "--env=CHRONY_ADDRESS=", "--env=NTP_SERVERS=", "--env=DNS_FALLBACK=none",
	}, more...)
	if _, err := output(t.Context(), "docker", append(args, built.runner)...); err != nil {
		t.Fatal(err)
	}
	registrations := func(ctx context.Context) (online, all int, err error) {
		state, err := system.Lab().State(ctx)
		for _, r := range state.Registrations {
			if r.Slot == slot {
				all++
			}
			if r.Slot == slot && r.Status == "online" {
				online++
			}
		}
		return online, all, err
	}
	t.Cleanup(func() {
		ctx := context.Background()
		_, stopErr := output(ctx, "docker", "stop", "--time=60", container)
		code, codeErr := output(ctx, "docker", "inspect", "--format={{.State.ExitCode}}", container)
		_, left, stateErr := registrations(ctx)
		_, removeErr := output(ctx, "docker", "rm", "--force", container)
		if err := errors.Join(stopErr, codeErr, stateErr, removeErr); err != nil || code != "0" || left > 0 {
			t.Errorf("%s exited with %s and left %d registrations (%v)", slot, code, left, err)
		}
	})
	await(t, slot+" to be online", func(ctx context.Context) (bool, error) {
		online, _, err := registrations(ctx)
		return online == 1, err
	})
	if _, err := output(t.Context(), "docker", "exec", container, "ghostrunner-runner", "healthcheck"); err != nil {
		t.Errorf("the health check of %s: %v", slot, err)
	}
	return container
}
