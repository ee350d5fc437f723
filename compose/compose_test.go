// Package compose_test checks the Compose files as Compose itself reads them.
package compose_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// required are the values that a person must choose.
var required = []string{"GITHUB_PAT=ghp_example_secret", "REPO_OWNER=acme", "REPO_NAME=widgets", "DOCKER_GID=999"}

// config runs `docker compose config` in this folder with nothing but env.
func config(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	return compose(t, env, append(args, "config")...)
}

// compose runs `docker compose` in this folder with nothing but env.
func compose(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	path, err := pinned()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, append([]string{"--env-file", os.DevNull}, args...)...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + t.TempDir()}, env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// pinned finds the Compose that make builds; an older one, which a distribution may install, reads these files otherwise.
var pinned = sync.OnceValues(func() (string, error) {
	path, err := exec.LookPath("docker-compose")
	if err != nil {
		return "", errors.New("docker-compose is not built: run `make test`, which puts the pinned one first on PATH")
	}
	version, err := exec.Command(path, "version", "--short").Output()
	if got := strings.TrimPrefix(strings.TrimSpace(string(version)), "v"); err != nil || got != "2.40.3" {
		return "", fmt.Errorf("%s is version %q: run `make test`, which puts the pinned one first on PATH", path, got)
	}
	return path, nil
})

// overrides are the files beside compose.yaml that people may add, with what each needs in .env.
var overrides = map[string][]string{
	"docker.yaml":    nil,
	"dockerhub.yaml": {"DOCKERHUB_USERNAME=me", "DOCKERHUB_TOKEN=dckr_example_secret"},
	"ghes.yaml":      {"GITHUB_HOST=github.example.com"},
	"observe.yaml":   nil,
	"sudo.yaml":      {"RUNNER_SUDO=true"},
}

// TestConfigIsClean reads every file that is here, with every profile and without.
func TestConfigIsClean(t *testing.T) {
	files, err := filepath.Glob("*.yaml")
	if err != nil || len(files) < 3 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		env, isOverride := overrides[file]
		switch {
		case file == "compose.yaml":
		case file == "demo.yaml":
			env = []string{"LAB_IMAGE=lab", "LAB_PORT=1"}
		case !isOverride:
			t.Errorf("%s: is it an override? Then it belongs into the table of this test", file)
		}
		for _, profiles := range []string{"", "mongo", "grafana", "mongo,grafana", everySlot} {
			t.Run(file+" "+profiles, func(t *testing.T) {
				args := []string{"-f", "compose.yaml"}
				if file != "compose.yaml" {
					args = append(args, "-f", file)
				}
				out, err := config(t, slices.Concat(required, env, []string{"COMPOSE_PROFILES=" + profiles}), args...)
				if err != nil {
					t.Fatalf("%v\n%s", err, out)
				}
				if strings.Contains(out, "level=warning") {
					t.Errorf("Compose warns:\n%s", out)
				}
				if strings.Contains(out, "_example_secret") && file != "demo.yaml" { // the simulated GitHub is told what it accepts
					t.Error("a secret stands in a container's configuration, where docker inspect shows it")
				}
				for _, profile := range []string{"mongo", "grafana"} {
					if runs := strings.Contains(out, "\n  "+profile+":\n"); runs != strings.Contains(profiles, profile) {
						t.Errorf("with COMPOSE_PROFILES=%s %s runs: %v", profiles, profile, runs)
					}
				}
				if n := strings.Count(out, "host_ip: 127.0.0.1"); n < 4 || n != strings.Count(out, "published:") {
					t.Error("a port is published on more than 127.0.0.1")
				}
			})
		}
	}
}

// TestObserve is what the file is for: the right to set the clock is gone.
func TestObserve(t *testing.T) {
	for file, want := range map[string]bool{"demo.yaml": false, "observe.yaml": false, "sudo.yaml": true} {
		out, err := config(t, append([]string{"LAB_IMAGE=lab", "LAB_PORT=1"}, required...), "-f", "compose.yaml", "-f", file)
		if err != nil || strings.Contains(out, "SYS_TIME") != want {
			t.Errorf("%s: a container may set the clock: %v, want %v (%v)", file, !want, want, err)
		}
	}
}

// TestEnterpriseServer wants every program that asks GitHub to ask that server, and to trust whom this host trusts.
func TestEnterpriseServer(t *testing.T) {
	out, err := config(t, slices.Concat(required, overrides["ghes.yaml"]), "-f", "compose.yaml", "-f", "ghes.yaml")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const inService = "\n      " // what is deeper or not as deep stands elsewhere
	asking := strings.Count(out, inService+"GITHUB_API_URL:")
	server := strings.Count(out, inService+"GITHUB_API_URL: https://github.example.com/api/v3\n")
	trust := strings.Count(out, "source: /etc/ssl/certs/ca-certificates.crt\n        target: /etc/ssl/certs/ca-certificates.crt\n        read_only: true")
	if asking != 4 || server != asking || trust != asking {
		t.Errorf("%d programs ask GitHub, %d of them this server, %d with this host's authorities; want 4", asking, server, trust)
	}
}

// TestMissingValueIsNamed leaves out, or empties, one value at a time.
func TestMissingValueIsNamed(t *testing.T) {
	for _, c := range []struct{ file, name string }{
		{"", "GITHUB_PAT"}, {"", "REPO_OWNER"}, {"dockerhub.yaml", "DOCKERHUB_USERNAME"}, {"dockerhub.yaml", "DOCKERHUB_TOKEN"}, {"ghes.yaml", "GITHUB_HOST"},
	} {
		for _, with := range []string{"", c.name + "="} {
			env := []string{with}
			for _, v := range slices.Concat(required, overrides["dockerhub.yaml"], overrides["ghes.yaml"]) {
				if !strings.HasPrefix(v, c.name+"=") {
					env = append(env, v)
				}
			}
			args := []string{"-f", "compose.yaml"}
			if c.file != "" {
				args = append(args, "-f", c.file)
			}
			out, err := config(t, env, args...)
			if lines := strings.Split(strings.TrimSpace(out), "\n"); err == nil || len(lines) != 1 || !strings.Contains(out, "set "+c.name+" in compose/.env") {
				t.Errorf("without %s (%q): want one line that names it, got:\n%s", c.name, with, out)
			}
		}
	}
}
