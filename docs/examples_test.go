package docs_test

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

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

const alertmanagerExample = "../examples/alertmanager/alertmanager.yml"

func TestAlertmanagerExampleInhibitions(t *testing.T) {
	inhibitions := func(file string) (content struct {
		Inhibit []any `yaml:"inhibit_rules"`
	}) {
		if err := yaml.Unmarshal([]byte(read(t, file)), &content); err != nil {
			t.Fatal(err)
		}
		return content
	}
	if diff := cmp.Diff(inhibitions("../compose/alertmanager/alertmanager.yml"), inhibitions(alertmanagerExample)); diff != "" {
		t.Errorf("the shipped inhibitions (-) and those of the example (+):\n%s", diff)
	}
}

// TestAlertmanagerExampleRoutes: an alert reaches only the remediator of its own host, with the
// token.
func TestAlertmanagerExampleRoutes(t *testing.T) {
	var mu sync.Mutex
	received := map[string]string{} // by host
	remediators := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(io.LimitReader(r.Body, 1<<20)) // a lost body fails the test below
		mu.Lock()
		defer mu.Unlock()
		if r.Header.Get("Authorization") == "Bearer the-token" {
			received[r.Host] += string(body)
		}
	}))
	defer remediators.Close()
	_, port, _ := net.SplitHostPort(remediators.Listener.Addr().String())

	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	address, log := startAlertmanager(ctx, t, port)
	postAlerts(ctx, t, address, `[
		{"labels": {"alertname": "One", "host": "localhost", "remediation": "restart", "runner": "ci-1"}},
		{"labels": {"alertname": "Two", "host": "127.0.0.1", "remediation": "restart", "runner": "ci-2"}},
		{"labels": {"alertname": "GhostrunnerWatchdog"}}
	]`)
	for {
		mu.Lock()
		one, two := received["localhost:"+port], received["127.0.0.1:"+port]
		mu.Unlock()
		if strings.Contains(one, "ci-2") || strings.Contains(two, "ci-1") {
			t.Fatal("an alert reached the remediator of another host")
		}
		if strings.Contains(one, "ci-1") && strings.Contains(two, "ci-2") && strings.Contains(one, "Watchdog") && strings.Contains(two, "Watchdog") {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("received %q and %q\n%s", one, two, log)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// startAlertmanager runs Alertmanager with the example until ctx ends. The remediators of its two
// hosts are on a port of this machine, by two names.
func startAlertmanager(ctx context.Context, t *testing.T, port string) (address string, log *strings.Builder) {
	t.Helper()
	dir := t.TempDir()
	config := strings.NewReplacer(":10069/", ":"+port+"/", "/etc/alertmanager/", dir+"/",
		"rack-1.example.org", "localhost", "rack-2.example.org", "127.0.0.1").Replace(read(t, alertmanagerExample))
	for name, text := range map[string]string{"alertmanager.yml": config, "ghostrunner-webhook-token": "the-token"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if out, err := exec.CommandContext(ctx, tool(t, "amtool"), "check-config", filepath.Join(dir, "alertmanager.yml")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	address = "http://127.0.0.1:" + freePort(t)
	cmd := exec.CommandContext(ctx, tool(t, "alertmanager"), "--config.file="+filepath.Join(dir, "alertmanager.yml"),
		"--storage.path="+dir, "--cluster.listen-address=", "--web.listen-address="+strings.TrimPrefix(address, "http://"))
	log = &strings.Builder{}
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // killed by the end of ctx
	for !answers(ctx, address+"/-/ready") {
		if ctx.Err() != nil {
			t.Fatalf("does not answer:\n%s", log)
		}
	}
	return address, log
}

func postAlerts(ctx context.Context, t *testing.T, address, alerts string) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"/api/v2/alerts", strings.NewReader(alerts))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("post alerts: %s", resp.Status)
	}
}
