package docs_test

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/unit"
)

// TestSystemdUnitsStart starts the programs with the settings of the units, as systemd would.
func TestSystemdUnitsStart(t *testing.T) {
	for _, program := range []string{"exporter", "remediator"} {
		t.Run(program, func(t *testing.T) {
			binary := filepath.Join(t.TempDir(), "program")
			if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../cmd/"+program).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			help, err := exec.CommandContext(t.Context(), binary, "--help-long").CombinedOutput()
			if err != nil {
				t.Fatal(err)
			}
			port := freePort(t)
			env := unitEnvironment(t, program, string(help), port)
			knownVariables(t, program, string(help))
			startAndStop(t, binary, env, "http://127.0.0.1:"+port+"/-/healthy")
		})
	}
}

// unitEnvironment returns the environment that a unit sets, after it made the files that systemd
// makes.
func unitEnvironment(t *testing.T, program, help, port string) []string {
	t.Helper()
	options, err := unit.DeserializeOptions(strings.NewReader(read(t, "../examples/systemd/ghostrunner-"+program+".service")))
	if err != nil {
		t.Fatal(err)
	}
	credentials, state := t.TempDir(), t.TempDir()
	paths := strings.NewReplacer("%d", credentials, "%S", state, ":10068", ":"+port, ":10069", ":"+port)
	// No container of this machine has this label.
	env := []string{"GHOSTRUNNER_" + strings.ToUpper(program) + "_DOCKER_LABEL=ghostrunner.example=none"}
	for _, o := range options {
		switch o.Name {
		case "ExecStart":
			if o.Value != "/usr/local/bin/ghostrunner-"+program {
				t.Errorf("ExecStart=%s: want no arguments, the settings are in the environment", o.Value)
			}
		case "LoadCredential":
			name, _, _ := strings.Cut(o.Value, ":")
			if err := os.WriteFile(filepath.Join(credentials, name), []byte("not-a-real-secret-of-40-characters-at-all"), 0o600); err != nil {
				t.Fatal(err)
			}
		case "StateDirectory":
			if err := os.Mkdir(filepath.Join(state, o.Value), 0o700); err != nil {
				t.Fatal(err)
			}
		case "Environment":
			if name, _, _ := strings.Cut(o.Value, "="); !strings.Contains(help, "$"+name+")") {
				t.Errorf("%s: %s has no such variable", name, program)
			}
			env = append(env, paths.Replace(o.Value))
		}
	}
	return env
}

// knownVariables: the program has every variable of the environment file that is not the other
// program's.
func knownVariables(t *testing.T, program, help string) {
	t.Helper()
	other := map[string]string{"exporter": "_REMEDIATOR_|^REMEDIATION_DRY_RUN$", "remediator": "_EXPORTER_|^(CHRONY_ADDRESS|PRUNE_THRESHOLD_GB)$"}[program]
	for _, m := range regexp.MustCompile(`(?m)^#?([A-Z_]+)=`).FindAllStringSubmatch(read(t, "../examples/systemd/ghostrunner.env"), -1) {
		if !strings.Contains(help, "$"+m[1]+")") && !regexp.MustCompile(other).MatchString(m[1]) {
			t.Errorf("ghostrunner.env: %s has no variable %s", program, m[1])
		}
	}
}

// startAndStop starts a program, waits until it is healthy and expects exit code 0 after SIGTERM.
func startAndStop(t *testing.T, binary string, env []string, healthy string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary)
	cmd.Env = slices.Concat(env, []string{"REPO_OWNER=acme", "REPO_NAME=widgets", "GITHUB_API_URL=http://127.0.0.1:1", "PATH=/nowhere"})
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for !answers(ctx, healthy) {
		if ctx.Err() != nil {
			_ = cmd.Wait() // killed by the context
			t.Fatalf("does not answer:\n%s", &log)
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ends with %v:\n%s", err, &log)
	}
}

// answers sends one request, and waits a moment if the port is closed.
func answers(ctx context.Context, address string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return false
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
