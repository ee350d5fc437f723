// Package compose_test checks the Compose files as Compose itself reads them.
package compose_test

import (
	"encoding/json"
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

// pinned finds the Compose that make builds. An older one, which a distribution may install, reads
// these files in another way.
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

// TestEnterpriseServer wants every program that uses GitHub to use that server, and to trust the
// certificate authorities of this host.
func TestEnterpriseServer(t *testing.T) {
	out, err := config(t, slices.Concat(required, overrides["ghes.yaml"]), "-f", "compose.yaml", "-f", "ghes.yaml")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const inService = "\n      " // what is deeper or not as deep stands elsewhere
	asking := strings.Count(out, inService+"GITHUB_API_URL: http")
	server := strings.Count(out, inService+"GITHUB_API_URL: https://github.example.com/api/v3\n")
	trust := strings.Count(out, "source: /etc/ssl/certs/ca-certificates.crt\n        target: /etc/ssl/certs/ca-certificates.crt\n        read_only: true")
	if asking != 4 || server != asking || trust != asking {
		t.Errorf("%d programs ask GitHub, %d of them this server, %d with this host's authorities; want 4", asking, server, trust)
	}
}

// TestEmptyValuesReachInit wants Compose to accept a .env whose required values are empty, so that
// init can report them all at once.
func TestEmptyValuesReachInit(t *testing.T) {
	env := []string{"GITHUB_PAT=", "DOCKERHUB_TOKEN=", "CLOCK_MODE=slew"}
	services, _ := resolve(t, env, "compose.yaml", "dockerhub.yaml", "ghes.yaml")
	var init struct{ Environment map[string]*string } // null: not passed
	if err := json.Unmarshal(services["init"], &init); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"REPO_OWNER": "", "GITHUB_HOST": "", "DOCKERHUB_USERNAME": "", "DOCKERHUB_TOKEN": "", "DOCKER_GID": "1001", "CLOCK_MODE": "slew",
	} {
		if got := init.Environment[name]; got == nil || *got != want {
			t.Errorf("init gets %s=%v; want %q", name, got, want)
		}
	}
	if got := init.Environment["PRUNE_KEEP"]; got != nil {
		t.Errorf("init gets PRUNE_KEEP=%q, which .env does not name", *got)
	}
	services, _ = resolve(t, append(required, overrides["dockerhub.yaml"]...), "compose.yaml", "dockerhub.yaml")
	if got := decode(t, services["init"]).Environment["DOCKERHUB_TOKEN"]; got != "given" {
		t.Errorf("init gets DOCKERHUB_TOKEN=%q; want it to see only that there is one", got)
	}
}

// TestSettingsAndSecretsWaitForInit wants every service that reads a setting or a secret to start
// after init has accepted all values.
func TestSettingsAndSecretsWaitForInit(t *testing.T) {
	services, _ := resolve(t, append(required, "COMPOSE_PROFILES=mongo,grafana,"+everySlot), "compose.yaml")
	for name, raw := range services {
		s := decode(t, raw)
		switch waits := s.DependsOn["init"].Condition == "service_completed_successfully"; {
		case name == "init":
			if s.Restart != "no" || s.NetworkMode != "none" {
				t.Errorf("init restarts (%q) or has a network (%q)", s.Restart, s.NetworkMode)
			}
		case name == "mongo", name == "prometheus": // read none; Prometheus waits for the exporter
		case !waits:
			t.Errorf("%s does not wait for init: %v", name, s.DependsOn)
		}
	}
}
