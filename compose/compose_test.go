// Package compose_test checks the Compose files as Compose itself reads them.
package compose_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
)

// required are the values that a person must choose.
var required = []string{"GITHUB_PAT=ghp_example_secret", "REPO_OWNER=acme", "REPO_NAME=widgets", "DOCKER_GID=999"}

// config runs `docker compose config` in this folder with nothing but env.
func config(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	path, err := pinned()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, append(args, "--env-file", os.DevNull, "config")...)
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

func TestConfigIsClean(t *testing.T) {
	demo := append([]string{"LAB_IMAGE=lab", "LAB_PORT=1"}, required...)
	for name, c := range map[string]struct{ env, files []string }{
		"shipped": {required, []string{"-f", "compose.yaml"}},
		"demo":    {demo, []string{"-f", "compose.yaml", "-f", "demo.yaml"}},
		"sudo":    {append([]string{"RUNNER_SUDO=true"}, required...), []string{"-f", "compose.yaml", "-f", "sudo.yaml"}},
		"docker":  {required, []string{"-f", "compose.yaml", "-f", "docker.yaml"}},
		"docker hub": {
			append([]string{"DOCKERHUB_USERNAME=me", "DOCKERHUB_TOKEN=ghp_example_secret"}, required...),
			[]string{"-f", "compose.yaml", "-f", "dockerhub.yaml"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			out, err := config(t, c.env, c.files...)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if strings.Contains(out, "level=warning") {
				t.Errorf("Compose warns:\n%s", out)
			}
			if strings.Contains(out, "ghp_example_secret") && name != "demo" {
				t.Error("the PAT stands in a container's configuration, where docker inspect shows it")
			}
		})
	}
}

func TestMissingOwnerIsNamed(t *testing.T) {
	out, err := config(t, []string{"GITHUB_PAT=x", "REPO_NAME=widgets"}, "-f", "compose.yaml")
	if err == nil {
		t.Fatal("a missing REPO_OWNER was accepted")
	}
	if lines := strings.Split(strings.TrimSpace(out), "\n"); len(lines) != 1 || !strings.Contains(out, "REPO_OWNER") {
		t.Errorf("want one line that names REPO_OWNER, got:\n%s", out)
	}
}

// TestExampleEnvironment keeps .env.example in step with the file that reads it.
func TestExampleEnvironment(t *testing.T) {
	example, err := os.ReadFile(".env.example")
	if err != nil {
		t.Fatal(err)
	}
	var files []byte
	for _, name := range []string{"compose.yaml", "dockerhub.yaml"} {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, text...)
	}
	for line := range strings.Lines(string(example)) {
		name, _, isVariable := strings.Cut(strings.TrimPrefix(strings.TrimSpace(line), "#"), "=")
		if !isVariable || strings.ContainsAny(name, " ") {
			continue
		}
		if strings.HasPrefix(name, "COMPOSE_") { // Compose itself reads these
			continue
		}
		if !strings.Contains(string(files), "${"+name) && !strings.Contains(string(files), "environment: "+name) {
			t.Errorf(".env.example offers %s, which no Compose file reads", name)
		}
	}
}
