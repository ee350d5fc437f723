package rules_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
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

// The size that one Prometheus is promised to judge, and what one cycle, an evaluation of every group, may take.
const (
	scaleHosts   = 50
	scaleRunners = 20 // on each host
	scaleBudget  = 100 * time.Millisecond
	scaleCycle   = 5 * time.Second // from one to the next, so that each begins with nothing of the last one under way
)

// BenchmarkEvaluation runs the real Prometheus as it is shipped over 1,000 runners on 50 hosts, of which some are in trouble,
// with an hour of history. It reports what a cycle takes, by the clock and in CPU time, and what judging costs a minute
// at the shipped intervals. The time by the clock is Prometheus' own figure, the sum over all groups, each
// evaluated every [scaleCycle]. The CPU time is that of the whole process, garbage collection included, less what it uses
// in the same time without rules; more of it than [scaleBudget] is a failure, because it means the same on a busy machine.
//
//	go test -run '^$' -bench Evaluation -benchtime 10x ./rules
func BenchmarkEvaluation(b *testing.B) {
	world := &scaleWorld{since: time.Now()}
	server := httptest.NewServer(world)
	b.Cleanup(server.Close)
	setup := scaleSetup{dir: b.TempDir(), target: strings.TrimPrefix(server.URL, "http://")}

	// The first scrape of each target brings its history and takes long, so it is not bound to the shipped intervals.
	world.intervals = setup.write(b, time.Minute, 0, nil)
	prom := startScaled(b, setup.dir)
	for !world.told() {
		prom.pause(b)
	}

	setup.write(b, 0, 0, nil)
	prom.reload(b)
	prom.rest(b, scaleCycle) // what the history left to do
	without := prom.cpuRate(b, 4*scaleCycle)

	setup.write(b, 0, scaleCycle, glob(b, "*.yml"))
	prom.reload(b)
	_ = prom.next(b, time.Now().Add(6*scaleCycle)) // two scrapes of the slowest job: alerts without a `for` fire
	var wall time.Duration
	worst := map[string]time.Duration{}
	begin, used := time.Now(), prom.cpu(b)
	for b.Loop() {
		prom.rest(b, scaleCycle) // to ask costs CPU time as well
		for _, g := range prom.next(b, time.Now().Add(-scaleCycle-time.Second)) {
			took := time.Duration(g.EvaluationTime * float64(time.Second))
			wall += took
			worst[g.Name] = max(worst[g.Name], took)
		}
	}
	cycles := time.Since(begin).Seconds() / scaleCycle.Seconds() // all that were, not all that were looked at
	spent := prom.cpu(b) - used - without*time.Since(begin).Seconds()
	wall /= time.Duration(b.N)
	cpu := time.Duration(spent / cycles * float64(time.Second))
	firing := prom.firing(b)

	setup.write(b, 0, 0, glob(b, "*.yml"))
	prom.reload(b)
	prom.rest(b, scaleCycle)
	minute := (prom.cpuRate(b, 6*scaleCycle) - without) * 60

	for _, figure := range []struct {
		value float64
		unit  string
	}{
		{wall.Seconds() * 1000, "ms/cycle"},
		{cpu.Seconds() * 1000, "CPU-ms/cycle"},
		{minute, "CPU-s/min"},
		{without * 60, "CPU-s/min-without-rules"},
	} {
		b.ReportMetric(figure.value, figure.unit)
		b.Logf("%.1f %s", figure.value, figure.unit) // a benchmark that fails reports no metrics
	}
	for _, name := range slices.Sorted(maps.Keys(worst)) {
		b.Logf("%s: at most %s", name, worst[name])
	}
	if firing < scaleHosts/5 {
		b.Errorf("%d alerts fire, want at least %d: what is measured here is not what happens in trouble", firing, scaleHosts/5)
	}
	if cpu > scaleBudget {
		b.Errorf("a cycle takes %s of CPU time, budget %s", cpu, scaleBudget)
	}
}

// scaleWorld plays every target of every host; a path is /host/job. The first answer of each is its past, the rest the
// present.
type scaleWorld struct {
	since     time.Time
	intervals map[string]time.Duration // by job

	mu   sync.Mutex
	past map[string]bool // by path: whether it was told
}

// ServeHTTP implements http.Handler.
func (w *scaleWorld) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	host, job, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	w.mu.Lock()
	told := w.past[r.URL.Path]
	w.mu.Unlock()
	out.Header().Set("Content-Type", "text/plain; version=0.0.4")
	page := bufio.NewWriter(out)
	for _, s := range fleet(host) {
		switch {
		case s.job != job:
		case told:
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

// told tells whether every target has been asked for its past.
func (w *scaleWorld) told() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.past) == scaleHosts*len(w.intervals)
}

// series is one series of a host.
type series struct {
	job, metric, labels string
	value               int64
	rises               time.Duration // by one in each; 0: it stands still
}

// at returns the value at a time.
func (s series) at(t time.Time) int64 {
	if s.rises == 0 {
		return s.value
	}
	return s.value + t.UnixMilli()/s.rises.Milliseconds()
}

// scaleHistory is how far back the past of a job goes: an hour for what rules look back on for that long, less two minutes
// because a new head takes no older samples; for the others more than a chunk (120 samples), because to read the newest sample of a
// chunk is to read all before it.
var scaleHistory = map[string]time.Duration{
	"ghostrunner-exporter":      45 * time.Minute,
	"ghostrunner-exporter-fast": 3 * time.Minute,
	"ghostrunner-remediator":    58 * time.Minute,
}

// fleet is what one host shows. On every fifth host one runner hangs in a retry loop, one is unhealthy, one is
// restarted again and again, and all others are busy.
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
	for _, reason := range []string{"busy", "unknown", "docker", "gone", "not_verified", "not_enough"} {
		all = append(all, series{remediator, "ghostrunner_remediator_action_failures_total", fmt.Sprintf(`action="prune",reason=%q,target="engine"`, reason), 0, 0})
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
		for _, reason := range []string{"registration_deleted", "version_deprecated", "clock_skew", "unauthorized", "not_configured", "other"} {
			all = append(all, series{slow, "ghostrunner_runner_failures_total", of + fmt.Sprintf(",reason=%q", reason), 0, 0})
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

// scaleSetup is where the configuration of Prometheus stands, and who answers for all targets.
type scaleSetup struct{ dir, target string }

// groupInterval is the interval of a group of rules.
var groupInterval = regexp.MustCompile(`(?m)^(    interval: )\S+$`)

// write writes the shipped configuration with fifty hosts in it, and the rules; scrapes and groups at intervals of their own unless
// that is 0. It returns the shipped scrape interval of each job.
func (s scaleSetup) write(tb testing.TB, scrape, group time.Duration, rules []string) map[string]time.Duration {
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
		text := read(tb, file)
		if group > 0 {
			text = groupInterval.ReplaceAllString(text, "${1}"+group.String())
		}
		path := filepath.Join(s.dir, filepath.Base(file))
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
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

// shippedFlags are the flags that compose.yaml gives to Prometheus, but for those that name its own paths; shippedThreads is
// GOMAXPROCS as it stands there.
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
		if p.get(tb, "/api/v1/rules?exclude_alerts=true", &answer) && len(*groups) > 0 &&
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

// cpu returns the CPU time that the process has used, in seconds.
func (p prometheus) cpu(tb testing.TB) float64 {
	tb.Helper()
	body, err := p.fetch(tb, "/metrics")
	if err != nil {
		tb.Fatal(err)
	}
	m := regexp.MustCompile(`(?m)^process_cpu_seconds_total (\S+)$`).FindSubmatch(body)
	if m == nil {
		tb.Fatal("Prometheus does not say what CPU time it has used")
	}
	seconds, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		tb.Fatal(err)
	}
	return seconds
}

// cpuRate returns what share of one CPU the process uses.
func (p prometheus) cpuRate(tb testing.TB, over time.Duration) float64 {
	tb.Helper()
	begin, used := time.Now(), p.cpu(tb)
	p.rest(tb, over)
	return (p.cpu(tb) - used) / time.Since(begin).Seconds()
}

// get asks the API; false: it does not answer yet.
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

// pause is the time between two questions.
func (p prometheus) pause(tb testing.TB) {
	tb.Helper()
	p.rest(tb, 500*time.Millisecond)
}

// rest leaves Prometheus alone for as long as that.
func (prometheus) rest(tb testing.TB, d time.Duration) {
	tb.Helper()
	select {
	case <-time.After(d):
	case <-tb.Context().Done():
		tb.Fatal("Prometheus does not answer")
	}
}
