package rules_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gopkg.in/yaml.v3"
)

// The size that one Prometheus is promised to judge, and how long one cycle of all groups together may take.
const (
	scaleHosts   = 50
	scaleRunners = 20 // on each host
	scaleBudget  = 100 * time.Millisecond
)

// BenchmarkEvaluation runs the real Prometheus with the shipped configuration over 1,000 runners on 50 hosts, of which some are
// in trouble, with as much history as each rule looks at. A cycle is one evaluation of every group; more than
// [scaleBudget] is a failure.
//
//	go test -run '^$' -bench Evaluation -benchtime 5x ./rules
func BenchmarkEvaluation(b *testing.B) {
	world := &scaleWorld{since: time.Now()}
	server := httptest.NewServer(world)
	b.Cleanup(server.Close)
	dir := b.TempDir()
	target := strings.TrimPrefix(server.URL, "http://")

	// The first scrape of each target brings its history and takes long, so it is not bound to the shipped intervals.
	world.intervals = writeScaleConfig(b, dir, target, time.Minute)
	prom := startScaled(b, dir)
	for !world.told() {
		prom.pause(b)
	}
	writeScaleConfig(b, dir, target, 0)
	prom.reload(b)

	// Half a minute is two scrapes of the slowest job: alerts without a `for` fire.
	_ = prom.next(b, time.Now().Add(30*time.Second))
	var total, worst time.Duration
	slowest := map[string]time.Duration{}
	for b.Loop() {
		var cycle time.Duration
		for _, g := range prom.next(b, time.Now()) {
			took := time.Duration(g.EvaluationTime * float64(time.Second))
			cycle += took
			slowest[g.Name] = max(slowest[g.Name], took)
		}
		total += cycle
		worst = max(worst, cycle)
	}
	mean := total / time.Duration(b.N)
	b.ReportMetric(float64(mean.Microseconds())/1000, "ms/cycle")
	b.ReportMetric(float64(worst.Microseconds())/1000, "worst-ms/cycle")
	for name, took := range slowest {
		b.Logf("%s: at most %s", name, took)
	}
	if firing := prom.firing(b); firing < scaleHosts/5 {
		b.Errorf("%d alerts fire, want at least %d: what is measured here is not what happens in trouble", firing, scaleHosts/5)
	}
	if mean > scaleBudget {
		b.Errorf("a cycle takes %s, budget %s", mean, scaleBudget)
	}
}

// scaleWorld plays every target of every host; a path is /host/job. The first answer of each is its past, the rest the
// present.
type scaleWorld struct {
	since     time.Time
	intervals map[string]time.Duration // by job

	mu      sync.Mutex
	present map[string]string // by path, once the past was told
}

// ServeHTTP implements http.Handler.
func (w *scaleWorld) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	host, job, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	w.mu.Lock()
	present, told := w.present[r.URL.Path]
	w.mu.Unlock()
	out.Header().Set("Content-Type", "text/plain; version=0.0.4")
	if told {
		_, _ = io.WriteString(out, strings.ReplaceAll(present, scaleNow, strconv.FormatInt(time.Now().Unix(), 10)))
		return
	}
	var now strings.Builder
	page := bufio.NewWriter(out)
	for _, s := range fleet(host) {
		if s.job != job {
			continue
		}
		value := func(time.Time) int64 { return s.value }
		fmt.Fprintf(&now, "%s{%s} ", s.metric, s.labels)
		if s.moves() {
			value = time.Time.Unix
			fmt.Fprintln(&now, scaleNow)
		} else {
			fmt.Fprintln(&now, s.value)
		}
		for at := w.since.Add(-s.history); at.Before(w.since); at = at.Add(w.intervals[job]) {
			fmt.Fprintf(page, "%s{%s} %d %d\n", s.metric, s.labels, value(at), at.UnixMilli())
		}
	}
	if page.Flush() != nil {
		return // the scrape was given up, and is tried again
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.present == nil {
		w.present = map[string]string{}
	}
	w.present[r.URL.Path] = now.String()
}

// scaleNow stands for the present time in a page.
const scaleNow = "NOW"

// told tells whether every target has been asked for its past.
func (w *scaleWorld) told() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.present) == scaleHosts*len(w.intervals)
}

// series is one series of a host, which stands still, or is the time where it moves; history says how far back a rule looks.
type series struct {
	job, metric, labels string
	value               int64
	history             time.Duration
}

// moves tells whether the value is the time at which it is read.
func (s series) moves() bool { return strings.HasSuffix(s.metric, "sample_timestamp_seconds") }

// fleet is what one host shows. On every fifth host one runner hangs in a retry loop and one is unhealthy.
func fleet(host string) []series {
	const (
		slow, fast, remediator = "ghostrunner-exporter", "ghostrunner-exporter-fast", "ghostrunner-remediator"
		gap                    = 2 * time.Minute // what most windows bridge
	)
	now := time.Now().Unix()
	all := []series{
		{slow, "ghostrunner_github_up", `scope="o/` + host + `"`, 1, gap},
		{slow, "ghostrunner_github_rate_limit", `resource="core"`, 5000, gap},
		{slow, "ghostrunner_github_rate_limit_remaining", `resource="core"`, 4000, gap},
		{slow, "ghostrunner_pat_valid", "", 1, gap},
		{slow, "ghostrunner_pat_permission_sufficient", "", 1, gap},
		{slow, "ghostrunner_pat_expiry_timestamp_seconds", "", now + 100*86400, gap},
		{slow, "ghostrunner_disk_free_bytes", `path="/var/lib/docker"`, 50e9, gap},
		{fast, "ghostrunner_docker_up", "", 1, gap},
		{fast, "ghostrunner_container_healthy", `container="ci-mongo",role="service"`, 1, gap},
		{slow, "ghostrunner_container_running", `container="ci-mongo",role="service"`, 1, gap},
		{remediator, "ghostrunner_remediator_paused", "", 0, gap},
	}
	for _, source := range []string{"chrony", "ntp", "github"} {
		all = append(all,
			series{slow, "ghostrunner_clock_offset_seconds", `source="` + source + `"`, 0, gap},
			series{slow, "ghostrunner_clock_sample_timestamp_seconds", `source="` + source + `"`, now, 5 * time.Minute})
	}
	for _, name := range []string{"api.github.com", "github.com"} {
		all = append(all, series{slow, "ghostrunner_dns_lookup_success", `name="` + name + `"`, 1, gap})
	}
	for _, action := range []string{"restart", "backoff", "prune"} {
		for _, reason := range []string{"busy", "cooldown", "breaker_open", "duplicate", "paused", "recovered", "no_target", "not_allowed"} {
			all = append(all, series{remediator, "ghostrunner_remediator_actions_refused_total", fmt.Sprintf("action=%q,reason=%q", action, reason), 3, 5 * time.Minute})
		}
	}
	for _, reason := range []string{"busy", "unknown", "docker", "gone", "not_verified", "not_enough"} {
		all = append(all, series{remediator, "ghostrunner_remediator_action_failures_total", fmt.Sprintf(`action="prune",reason=%q,target="engine"`, reason), 0, 30 * time.Minute})
	}
	for i := range scaleRunners {
		runner := fmt.Sprintf("ci-runner-%d", i)
		of := fmt.Sprintf("runner=%q", runner)
		in := fmt.Sprintf("container=%q,role=\"runner\"", runner)
		trouble := strings.HasSuffix(host, "0") || strings.HasSuffix(host, "5")
		retrying, healthy, online := truth(trouble && i == 0), truth(!trouble || i != 1), truth(!trouble || i > 1)
		all = append(all,
			series{slow, "ghostrunner_runner_online", of, online, gap},
			series{slow, "ghostrunner_runner_busy", of, online, gap},
			series{fast, "ghostrunner_container_healthy", in, healthy, gap},
			series{fast, "ghostrunner_container_info", in + "," + of, 1, gap},
			series{slow, "ghostrunner_container_running", in, 1, gap},
			series{slow, "ghostrunner_container_starts_total", in, 7, 5 * time.Minute},
			series{slow, "ghostrunner_runner_retrying", of, retrying, gap},
			series{slow, "ghostrunner_runner_retry_loop_matches_total", of, 12, 5 * time.Minute},
			series{slow, "ghostrunner_runner_session_conflicts_total", of, 1, 15 * time.Minute},
			series{remediator, "ghostrunner_watchdog_fires_total", of, 4, 58 * time.Minute}, // a new head takes no older samples
		)
		for _, reason := range []string{"registration_deleted", "version_deprecated", "clock_skew", "unauthorized", "not_configured", "other"} {
			all = append(all, series{slow, "ghostrunner_runner_failures_total", of + fmt.Sprintf(",reason=%q", reason), 0, 15 * time.Minute})
		}
	}
	return all
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// writeScaleConfig writes the shipped configuration with fifty hosts in it, at intervals of its own unless that is 0. It
// returns the shipped scrape interval of each job.
func writeScaleConfig(tb testing.TB, dir, target string, every time.Duration) map[string]time.Duration {
	tb.Helper()
	var config struct {
		Global  map[string]any   `yaml:"global"`
		Rules   []string         `yaml:"rule_files"`
		Scrapes []map[string]any `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(read(tb, prometheusConfig)), &config); err != nil {
		tb.Fatal(err)
	}
	here, err := filepath.Abs(".")
	if err != nil {
		tb.Fatal(err)
	}
	config.Rules = []string{here + "/*.yml"}
	config.Scrapes = slices.DeleteFunc(config.Scrapes, func(job map[string]any) bool {
		return !strings.HasPrefix(job["job_name"].(string), "ghostrunner-")
	})
	intervals := map[string]time.Duration{}
	for _, job := range config.Scrapes {
		name := job["job_name"].(string)
		interval, ok := job["scrape_interval"].(string)
		if !ok {
			interval = config.Global["scrape_interval"].(string)
		}
		if intervals[name], err = time.ParseDuration(interval); err != nil {
			tb.Fatal(err)
		}
		if every > 0 {
			job["scrape_interval"], job["scrape_timeout"] = every.String(), every.String()
		}
		var targets []any
		for i := range scaleHosts {
			host := fmt.Sprintf("host-%d", i)
			targets = append(targets, map[string]any{
				"targets": []string{target},
				"labels":  map[string]string{"host": host, "__metrics_path__": "/" + host + "/" + name},
			})
		}
		job["static_configs"] = targets
	}
	text, err := yaml.Marshal(config)
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "prometheus.yml"), text, 0o600); err != nil {
		tb.Fatal(err)
	}
	return intervals
}

// prometheus is a running Prometheus.
type prometheus struct{ url string }

func startScaled(tb testing.TB, dir string) prometheus {
	tb.Helper()
	lookback := regexp.MustCompile(`--query\.lookback-delta=\S+`).FindString(read(tb, "../compose/compose.yaml"))
	address := freeAddress(tb)
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, tool(tb, "prometheus"), "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address, "--log.level=warn", "--web.enable-lifecycle", lookback)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 20 * time.Second
	if err := cmd.Start(); err != nil {
		cancel()
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		cancel()
		_ = cmd.Wait() // ended by us
		if tb.Failed() {
			tb.Logf("Prometheus said:\n%s", log.String())
		}
	})
	return prometheus{"http://" + address}
}

// reload makes Prometheus read its configuration again.
func (p prometheus) reload(tb testing.TB) {
	tb.Helper()
	request, err := http.NewRequestWithContext(tb.Context(), http.MethodPost, p.url+"/-/reload", http.NoBody)
	if err != nil {
		tb.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		tb.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		tb.Fatalf("Prometheus does not reload: %s", response.Status)
	}
}

// group is what Prometheus says of one group of rules.
type group struct {
	Name           string
	LastEvaluation time.Time
	EvaluationTime float64 // seconds
}

// next waits until every group has been evaluated after the given time.
func (p prometheus) next(tb testing.TB, after time.Time) []group {
	tb.Helper()
	for {
		var answer struct {
			Data struct{ Groups []group }
		}
		groups := &answer.Data.Groups
		if p.get(tb, "/api/v1/rules", &answer) && len(*groups) > 0 &&
			!slices.ContainsFunc(*groups, func(g group) bool { return g.LastEvaluation.Before(after) }) {
			return *groups
		}
		p.pause(tb)
	}
}

func (p prometheus) firing(tb testing.TB) int {
	tb.Helper()
	var answer struct {
		Data struct{ Alerts []struct{ State string } }
	}
	for !p.get(tb, "/api/v1/alerts", &answer) {
		p.pause(tb)
	}
	n := 0
	for _, a := range answer.Data.Alerts {
		if a.State == "firing" {
			n++
		}
	}
	return n
}

// get asks the API; false: it does not answer yet.
func (p prometheus) get(tb testing.TB, path string, into any) bool {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
	if err != nil {
		tb.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK && json.NewDecoder(response.Body).Decode(into) == nil
}

// pause is the time between two questions.
func (p prometheus) pause(tb testing.TB) {
	tb.Helper()
	select {
	case <-time.After(500 * time.Millisecond):
	case <-tb.Context().Done():
		tb.Fatal("Prometheus does not answer")
	}
}
