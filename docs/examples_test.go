package docs_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/unit"
	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

// tool returns the path of a program that `make test` builds.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is not in $PATH; `make test` builds it and sets the path", name)
	}
	return path
}

func freePort(t *testing.T) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return port
}

// TestSystemdUnitsStart starts the programs with the settings of the units, as systemd would.
func TestSystemdUnitsStart(t *testing.T) {
	for _, program := range []string{"exporter", "remediator"} {
		t.Run(program, func(t *testing.T) {
			file := "../examples/systemd/ghostrunner-" + program + ".service"
			options, err := unit.DeserializeOptions(strings.NewReader(read(t, file)))
			if err != nil {
				t.Fatal(err)
			}
			binary := filepath.Join(t.TempDir(), "program")
			if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "../cmd/"+program).CombinedOutput(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			help, err := exec.CommandContext(t.Context(), binary, "--help-long").CombinedOutput()
			if err != nil {
				t.Fatal(err)
			}
			credentials, state, port := t.TempDir(), t.TempDir(), freePort(t)
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
					name, _, _ := strings.Cut(o.Value, "=")
					if !strings.Contains(string(help), "$"+name+")") {
						t.Errorf("%s: %s has no such variable", name, program)
					}
					env = append(env, regexp.MustCompile(`:100(68|69)$`).ReplaceAllString(strings.NewReplacer("%d", credentials, "%S", state).Replace(o.Value), ":"+port))
				}
			}
			for _, m := range regexp.MustCompile(`(?m)^#?([A-Z_]+)=`).FindAllStringSubmatch(read(t, "../examples/systemd/ghostrunner.env"), -1) {
				other := map[string]string{"exporter": "_REMEDIATOR_", "remediator": "_EXPORTER_"}[program]
				known := strings.Contains(string(help), "$"+m[1]+")")
				if common := slices.Contains([]string{"CHRONY_ADDRESS", "PRUNE_THRESHOLD_GB", "REMEDIATION_DRY_RUN"}, m[1]); !known && !common && !strings.Contains(m[1], other) {
					t.Errorf("ghostrunner.env: %s has no variable %s", program, m[1])
				}
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, binary)
			cmd.Env = slices.Concat(env, []string{"REPO_OWNER=acme", "REPO_NAME=widgets", "GITHUB_API_URL=http://127.0.0.1:1", "PATH=/nowhere"})
			var log strings.Builder
			cmd.Stderr = &log
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			for !answers(ctx, "http://127.0.0.1:"+port+"/-/healthy") {
				if ctx.Err() != nil {
					_ = cmd.Process.Kill() // the test fails anyway
					_ = cmd.Wait()
					t.Fatalf("does not answer:\n%s", &log)
				}
			}
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("ends with %v:\n%s", err, &log)
			}
		})
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

// TestPrometheusExample compares the jobs that the rules need with the shipped ones.
func TestPrometheusExample(t *testing.T) {
	const example = "../examples/prometheus/prometheus.yml"
	out, err := exec.CommandContext(t.Context(), tool(t, "promtool"), "check", "config", "--syntax-only", example).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	type job struct {
		Name     string              `yaml:"job_name"`
		Interval string              `yaml:"scrape_interval"`
		Timeout  string              `yaml:"scrape_timeout"`
		Params   map[string][]string `yaml:"params"`
	}
	jobs := func(file string) []job {
		var content struct {
			Jobs []job `yaml:"scrape_configs"`
		}
		if err := yaml.Unmarshal([]byte(read(t, file)), &content); err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(content.Jobs, func(j job) bool { return !strings.HasPrefix(j.Name, "ghostrunner-") })
	}
	if diff := cmp.Diff(jobs("../compose/prometheus/prometheus.yml"), jobs(example)); diff != "" {
		t.Errorf("the shipped jobs (-) and those of the example (+):\n%s", diff)
	}
}

// TestAlertmanagerExample runs Alertmanager with the example: an alert must reach only the remediator of
// its own host, with the token.
func TestAlertmanagerExample(t *testing.T) {
	const example, shipped = "../examples/alertmanager/alertmanager.yml", "../compose/alertmanager/alertmanager.yml"
	inhibitions := func(file string) (content struct {
		Inhibit []any `yaml:"inhibit_rules"`
	}) {
		if err := yaml.Unmarshal([]byte(read(t, file)), &content); err != nil {
			t.Fatal(err)
		}
		return content
	}
	if diff := cmp.Diff(inhibitions(shipped), inhibitions(example)); diff != "" {
		t.Errorf("the shipped inhibitions (-) and those of the example (+):\n%s", diff)
	}

	var mu sync.Mutex
	received := map[string]string{}
	remediators := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20)) // what is missing fails the test below
		mu.Lock()
		defer mu.Unlock()
		if r.Header.Get("Authorization") == "Bearer the-token" {
			received[r.Host] += string(body)
		}
	}))
	defer remediators.Close()
	_, port, _ := net.SplitHostPort(remediators.Listener.Addr().String())

	dir := t.TempDir()
	config := strings.NewReplacer(":10069/", ":"+port+"/", "/etc/alertmanager/", dir+"/", "rack-1.example.org", "localhost", "rack-2.example.org", "127.0.0.1").Replace(read(t, example))
	for name, text := range map[string]string{"alertmanager.yml": config, "ghostrunner-webhook-token": "the-token"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(t.Context(), tool(t, "amtool"), "check-config", filepath.Join(dir, "alertmanager.yml")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	address := "127.0.0.1:" + freePort(t)
	cmd := exec.CommandContext(ctx, tool(t, "alertmanager"), "--config.file="+filepath.Join(dir, "alertmanager.yml"),
		"--storage.path="+dir, "--cluster.listen-address=", "--web.listen-address="+address)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		cancel()
		_ = cmd.Wait() // canceled above
	}()
	for !answers(ctx, "http://"+address+"/-/ready") {
		if ctx.Err() != nil {
			t.Fatalf("does not answer:\n%s", &log)
		}
	}
	const alerts = `[
		{"labels": {"alertname": "One", "host": "localhost", "remediation": "restart", "runner": "ci-1"}},
		{"labels": {"alertname": "Two", "host": "127.0.0.1", "remediation": "restart", "runner": "ci-2"}},
		{"labels": {"alertname": "GhostrunnerWatchdog"}}
	]`
	target := url.URL{Scheme: "http", Host: address, Path: "/api/v2/alerts"}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), strings.NewReader(alerts))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("alerts were not taken: %v %v", resp, err)
	}
	resp.Body.Close()
	one, two := "localhost:"+port, "127.0.0.1:"+port
	for {
		mu.Lock()
		arrived := strings.Contains(received[one], "ci-1") && strings.Contains(received[two], "ci-2") &&
			strings.Contains(received[one], "Watchdog") && strings.Contains(received[two], "Watchdog")
		if strings.Contains(received[one], "ci-2") || strings.Contains(received[two], "ci-1") {
			t.Error("an alert reached the remediator of another host")
		}
		mu.Unlock()
		if arrived {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("received: %v\n%s", received, &log)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
