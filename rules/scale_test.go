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

// The size that one Prometheus is promised to evaluate, and what that may cost.
const (
	scaleHosts   = 50
	scaleRunners = 20               // on each host
	scaleBudget  = 0.10             // of one core
	scaleWindow  = 20 * time.Second // of one measurement
)

// BenchmarkEvaluation runs Prometheus as it is shipped over 1,000 runners on 50 hosts, of which
// some have faults, with an hour of history. It reports the share of one core that the rules cost
// at the shipped intervals: the CPU time of the whole process, garbage collection included, minus
// what the process uses without rules. More than [scaleBudget] is a failure.
//
//	go test -run '^$' -bench Evaluation -benchtime 5x ./rules
func BenchmarkEvaluation(b *testing.B) {
	world := &scaleWorld{since: time.Now()}
	server := httptest.NewServer(world)
	b.Cleanup(server.Close)
	setup := scaleSetup{dir: b.TempDir(), target: strings.TrimPrefix(server.URL, "http://")}

	// The first scrape of each target brings its history and takes long, so it is not bound to the
	// shipped intervals.
	world.intervals = setup.write(b, time.Minute, nil)
	prom := startScaled(b, setup.dir)
	for !world.complete() {
		prom.pause(b)
	}

	setup.write(b, 0, nil)
	prom.reload(b)
	prom.rest(b, scaleWindow) // until the history is processed
	without := prom.cpuRate(b, 3*scaleWindow)

	setup.write(b, 0, glob(b, "*.yml"))
	prom.reload(b)
	prom.rest(b, 2*scaleWindow) // two scrapes of the slowest job, so that alerts without a `for` fire
	begin, used := time.Now(), prom.cpu(b)
	for b.Loop() {
		prom.rest(b, scaleWindow)
	}
	rules := (prom.cpu(b)-used)/time.Since(begin).Seconds() - without

	for unit, value := range map[string]float64{"%-of-a-core": rules * 100, "%-of-a-core-without-rules": without * 100} {
		b.ReportMetric(value, unit)
		b.Logf("%.1f %s", value, unit) // a benchmark that fails reports no metrics
	}
	prom.logGroups(b)
	if firing := prom.firing(b); firing < scaleHosts/5 {
		b.Errorf("%d alerts fire, want at least %d: the measurement must include faults", firing, scaleHosts/5)
	}
	if rules > scaleBudget {
		b.Errorf("the rules cost %.1f %% of a core, budget %.0f %%", rules*100, scaleBudget*100)
	}
}

// scaleWorld serves every target of every host; a path is /host/job. The first answer of each is
// its history, later ones are the present.
type scaleWorld struct {
	since     time.Time
	intervals map[string]time.Duration // by job

	mu   sync.Mutex
	past map[string]bool // by path: whether the history was sent
}

// ServeHTTP implements http.Handler.
func (w *scaleWorld) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	host, job, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	w.mu.Lock()
	sent := w.past[r.URL.Path]
	w.mu.Unlock()
	out.Header().Set("Content-Type", "text/plain; version=0.0.4")
	page := bufio.NewWriter(out)
	for _, s := range fleet(host) {
		switch {
		case s.job != job:
		case sent:
			fmt.Fprintf(page, "%s{%s} %d\n", s.metric, s.labels, s.at(time.Now()))
		default:
			for at := w.since.Add(-scaleHistory[job]); at.Before(w.since); at = at.Add(w.intervals[job]) {
				fmt.Fprintf(page, "%s{%s} %d %d\n", s.metric, s.labels, s.at(at), at.UnixMilli())
			}
		}
	}
	if page.Flush() != nil {
		return // the scrape was given up, and is tried again
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.past == nil {
		w.past = map[string]bool{}
	}
	w.past[r.URL.Path] = true
}

// complete reports whether every target has sent its history.
func (w *scaleWorld) complete() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.past) == scaleHosts*len(w.intervals)
}

// series is one series of a host.
type series struct {
	job, metric, labels string
	value               int64
	rises               time.Duration // by one in each; 0: constant
}

// at returns the value at a time.
func (s series) at(t time.Time) int64 {
	if s.rises == 0 {
		return s.value
	}
	return s.value + t.UnixMilli()/s.rises.Milliseconds()
}

// scaleHistory is the length of the history of a job: an hour where rules look back for an hour,
// less two minutes because a new head takes no older samples; elsewhere more than a chunk (120
// samples), because reading the newest sample of a chunk means reading all before it.
var scaleHistory = map[string]time.Duration{
	"ghostrunner-exporter":      45 * time.Minute,
	"ghostrunner-exporter-fast": 3 * time.Minute,
	"ghostrunner-remediator":    58 * time.Minute,
}

// fleet returns the series of one host. On every fifth host one runner is in its retry loop, one is
// unhealthy, one is restarted again and again, and all others are busy.
func fleet(host string) []series {
	const slow, fast, remediator = "ghostrunner-exporter", "ghostrunner-exporter-fast", "ghostrunner-remediator"
	now := time.Now().Unix()
	all := []series{
		{slow, "ghostrunner_github_up", `scope="o/` + host + `"`, 1, 0},
		{slow, "ghostrunner_github_rate_limit", `resource="core"`, 5000, 0},
		{slow, "ghostrunner_github_rate_limit_remaining", `resource="core"`, 4000, 0},
		{slow, "ghostrunner_pat_valid", "", 1, 0},
		{slow, "ghostrunner_pat_permission_sufficient", "", 1, 0},
		{slow, "ghostrunner_pat_expiry_timestamp_seconds", "", now + 100*86400, 0},
		{slow, "ghostrunner_disk_free_bytes", `path="/var/lib/docker"`, 50e9, 0},
		{fast, "ghostrunner_docker_up", "", 1, 0},
		{fast, "ghostrunner_container_healthy", `container="ci-mongo",role="service"`, 1, 0},
		{slow, "ghostrunner_container_running", `container="ci-mongo",role="service"`, 1, 0},
		{remediator, "ghostrunner_remediator_paused", "", 0, 0},
		{remediator, "ghostrunner_remediator_journal_up", "", 1, 0},
	}
	for _, source := range []string{"chrony", "ntp", "github"} {
		all = append(all,
			series{slow, "ghostrunner_clock_offset_seconds", `source="` + source + `"`, 0, 0},
			series{slow, "ghostrunner_clock_sample_timestamp_seconds", `source="` + source + `"`, 0, time.Second})
	}
	for _, name := range []string{"api.github.com", "github.com"} {
		all = append(all, series{slow, "ghostrunner_dns_lookup_success", `name="` + name + `"`, 1, 0})
	}
	for _, action := range []string{"restart", "backoff", "prune"} {
		for _, reason := range []string{"busy", "cooldown", "breaker_open", "duplicate", "paused", "recovered", "no_target", "not_allowed"} {
			all = append(all, series{remediator, "ghostrunner_remediator_actions_refused_total", fmt.Sprintf("action=%q,reason=%q", action, reason), 3, 0})
		}
	}
	for i := range scaleRunners {
		runner := fmt.Sprintf("ci-runner-%d", i)
		of := fmt.Sprintf("runner=%q", runner)
		in := fmt.Sprintf("container=%q,role=\"runner\"", runner)
		trouble := strings.HasSuffix(host, "0") || strings.HasSuffix(host, "5")
		retrying, healthy, online := truth(trouble && i == 0), truth(!trouble || i != 1), truth(!trouble || i > 1)
		busy := truth(online == 1 && (trouble || i%2 == 0))
		var fires time.Duration
		if trouble && i == 2 {
			fires = 9 * time.Minute
		}
		all = append(all,
			series{slow, "ghostrunner_runner_online", of, online, 0},
			series{slow, "ghostrunner_runner_busy", of, busy, 0},
			series{fast, "ghostrunner_container_healthy", in, healthy, 0},
			series{slow, "ghostrunner_container_info", in + "," + of, 1, 0},
			series{slow, "ghostrunner_container_running", in, 1, 0},
			series{slow, "ghostrunner_container_starts_total", in, 7, 0},
			series{slow, "ghostrunner_runner_retrying", of, retrying, 0},
			series{slow, "ghostrunner_runner_retry_loop_matches_total", of, 12, 0},
			series{slow, "ghostrunner_runner_session_conflicts_total", of, 1, 0},
			series{remediator, "ghostrunner_watchdog_fires_total", of, 4, fires},
		)
		for _, reason := range []string{"registration_deleted", "version_deprecated"} {
			all = append(all, series{slow, "ghostrunner_runner_last_failure_timestamp_seconds", of + fmt.Sprintf(",reason=%q", reason), now - 86400, 0})
		}
		for _, outcome := range []string{`outcome="completed",reason=""`, `outcome="failed",reason="not_verified"`} {
			all = append(all, series{remediator, "ghostrunner_remediator_last_decision_timestamp_seconds", fmt.Sprintf(`action="restart",target=%q,`, runner) + outcome, now - 7200, 0})
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

// scaleSetup is the folder of Prometheus' configuration, and the address that serves all targets.
type scaleSetup struct{ dir, target string }

// write writes the shipped configuration with fifty hosts, and the rules. It replaces the scrape
// interval unless that is 0, and returns the shipped one of each job.
func (s scaleSetup) write(tb testing.TB, scrape time.Duration, rules []string) map[string]time.Duration {
	tb.Helper()
	var config struct {
		Global  map[string]any   `yaml:"global"`
		Rules   []string         `yaml:"rule_files"`
		Scrapes []map[string]any `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(read(tb, prometheusConfig)), &config); err != nil {
		tb.Fatal(err)
	}
	config.Rules = nil
	for _, file := range rules {
		path, err := filepath.Abs(file)
		if err != nil {
			tb.Fatal(err)
		}
		config.Rules = append(config.Rules, path)
	}
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
		var err error
		if intervals[name], err = time.ParseDuration(interval); err != nil {
			tb.Fatal(err)
		}
		if scrape > 0 {
			job["scrape_interval"], job["scrape_timeout"] = scrape.String(), scrape.String()
		}
		var targets []any
		for i := range scaleHosts {
			host := fmt.Sprintf("host-%d", i)
			targets = append(targets, map[string]any{
				"targets": []string{s.target},
				"labels":  map[string]string{"host": host, "__metrics_path__": "/" + host + "/" + name},
			})
		}
		job["static_configs"] = targets
	}
	text, err := yaml.Marshal(config)
	if err != nil {
		tb.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.dir, "prometheus.yml"), text, 0o600); err != nil {
		tb.Fatal(err)
	}
	return intervals
}

// prometheus is a running Prometheus.
type prometheus struct{ url string }

// shippedFlags returns the flags that compose.yaml gives to Prometheus, without those that name
// paths, and its GOMAXPROCS.
func shippedFlags(tb testing.TB) (flags []string, shippedThreads string) {
	tb.Helper()
	var compose struct {
		Services struct {
			Prometheus struct {
				Command     []string
				Environment map[string]string
			}
		}
	}
	if err := yaml.Unmarshal([]byte(read(tb, "../compose/compose.yaml")), &compose); err != nil {
		tb.Fatal(err)
	}
	for _, flag := range compose.Services.Prometheus.Command {
		if !strings.HasPrefix(flag, "--config.") && !strings.HasPrefix(flag, "--storage.") {
			flags = append(flags, flag)
		}
	}
	return flags, compose.Services.Prometheus.Environment["GOMAXPROCS"]
}

func startScaled(tb testing.TB, dir string) prometheus {
	tb.Helper()
	flags, threads := shippedFlags(tb)
	address := freeAddress(tb)
	var log bytes.Buffer
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, tool(tb, "prometheus"), append(flags, "--config.file="+filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+address, "--log.level=warn")...)
	if threads != "" {
		cmd.Env = append(os.Environ(), "GOMAXPROCS="+threads)
	}
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
			tb.Logf("Prometheus logged:\n%s", log.String())
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

// logGroups logs how long the last evaluation of each group took.
func (p prometheus) logGroups(tb testing.TB) {
	tb.Helper()
	var answer struct {
		Data struct {
			Groups []struct {
				Name           string
				EvaluationTime float64 // seconds
			}
		}
	}
	for !p.get(tb, "/api/v1/rules?exclude_alerts=true", &answer) {
		p.pause(tb)
	}
	for _, g := range answer.Data.Groups {
		tb.Logf("%s: %.1f ms", g.Name, g.EvaluationTime*1000)
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

// cpu returns the CPU time that the process has used, in seconds.
func (p prometheus) cpu(tb testing.TB) float64 {
	tb.Helper()
	body, err := p.fetch(tb, "/metrics")
	if err != nil {
		tb.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^process_cpu_seconds_total (\S+)$`).FindSubmatch(body)
	if m == nil {
		tb.Fatal("Prometheus reports no CPU time")
	}
	seconds, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		tb.Fatal(err)
	}
	return seconds
}

// cpuRate returns the share of one core that the process uses.
func (p prometheus) cpuRate(tb testing.TB, over time.Duration) float64 {
	tb.Helper()
	begin, used := time.Now(), p.cpu(tb)
	p.rest(tb, over)
	return (p.cpu(tb) - used) / time.Since(begin).Seconds()
}

// get queries the API; false: it does not answer yet.
func (p prometheus) get(tb testing.TB, path string, into any) bool {
	tb.Helper()
	body, err := p.fetch(tb, path)
	return err == nil && json.Unmarshal(body, into) == nil
}

func (p prometheus) fetch(tb testing.TB, path string) ([]byte, error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), 20*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, response.Status)
	}
	return io.ReadAll(response.Body)
}

// pause is the time between two requests.
func (p prometheus) pause(tb testing.TB) {
	tb.Helper()
	p.rest(tb, 500*time.Millisecond)
}

// rest waits and sends no request meanwhile, because a request costs CPU time too.
func (prometheus) rest(tb testing.TB, d time.Duration) {
	tb.Helper()
	select {
	case <-time.After(d):
	case <-tb.Context().Done():
		tb.Fatal("Prometheus does not answer")
	}
}
