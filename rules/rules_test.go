// Package rules_test tests the rules with promtool, the routing with amtool, and inhibition and
// notifications with a running Alertmanager. There is no Go code here to be tested.
package rules_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

const (
	alertmanagerConfig = "../compose/alertmanager/alertmanager.yml"
	prometheusConfig   = "../compose/prometheus/prometheus.yml"
	runbooks           = "../INCIDENTS.md"
	runbookURL         = "https://github.com/blueguy23/ghostrunner/blob/main/INCIDENTS.md#"
)

// tool returns the path of a developer tool: from its environment variable (PROMTOOL for promtool),
// else from PATH.
func tool(t testing.TB, name string) string {
	t.Helper()
	if path := os.Getenv(strings.ToUpper(name)); path != "" {
		return path
	}
	path, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is neither in $%s nor in $PATH; `make test` builds it and sets the path", name, strings.ToUpper(name))
	}
	return path
}

// run fails the test with the tool's whole output.
func run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), tool(t, name), args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func glob(t testing.TB, pattern string) []string {
	t.Helper()
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no file matches %s (%v)", pattern, err)
	}
	return files
}

func read(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Rule is one alerting rule as it is written.
type Rule struct {
	Alert         string            `yaml:"alert"`
	Expr          string            `yaml:"expr"`
	For           string            `yaml:"for"`
	KeepFiringFor string            `yaml:"keep_firing_for"`
	Labels        map[string]string `yaml:"labels"`
	Annotations   map[string]string `yaml:"annotations"`
}

// alerts returns every alerting rule, in the order of the files.
func alerts(t testing.TB) []Rule {
	t.Helper()
	var all []Rule
	for _, file := range glob(t, "*.yml") {
		var content struct {
			Groups []struct{ Rules []Rule }
		}
		if err := yaml.Unmarshal([]byte(read(t, file)), &content); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, group := range content.Groups {
			for _, rule := range group.Rules {
				if rule.Alert != "" {
					all = append(all, rule)
				}
			}
		}
	}
	return all
}

// names returns the distinct names of the alerts, sorted.
func names(rules []Rule) []string {
	var all []string
	for _, r := range rules {
		all = append(all, r.Alert)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestRulesLint(t *testing.T) {
	run(t, "promtool", append([]string{"check", "rules", "--lint=all", "--lint-fatal"}, glob(t, "*.yml")...)...)
}

func TestRules(t *testing.T) {
	for _, file := range glob(t, "tests/*_test.yml") {
		t.Run(filepath.Base(file), func(t *testing.T) {
			t.Parallel()
			run(t, "promtool", "test", "rules", "--diff", file)
		})
	}
}

func TestPrometheusConfiguration(t *testing.T) {
	here, err := filepath.Abs(".")
	if err != nil {
		t.Fatal(err)
	}
	config := read(t, prometheusConfig)
	const mounted = "/etc/prometheus/rules/"
	if strings.Count(config, mounted) != 1 {
		t.Fatalf("%s does not load its rules from %s", prometheusConfig, mounted)
	}
	path := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(path, []byte(strings.Replace(config, mounted, here+"/", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	out := run(t, "promtool", "check", "config", "--lint=all", "--lint-fatal", path)
	if want := "remediation.yml"; !strings.Contains(out, want) {
		t.Errorf("the rules are not loaded: no %s in\n%s", want, out)
	}
}

func TestAlertmanagerConfiguration(t *testing.T) {
	run(t, "amtool", "check-config", alertmanagerConfig)
}

func TestRoutes(t *testing.T) {
	for _, test := range []struct {
		name, receivers string
		labels          []string
	}{
		{"heartbeat", "dead-mans-switch,heartbeat", []string{"alertname=GhostrunnerWatchdog", "severity=none", "layer=pipeline", "heartbeat=true"}},
		{"remediated", "remediator,people", []string{
			"alertname=GhostrunnerRunnerRetryLoop", "severity=warning", "layer=runner", "remediation=restart", "recheck=online",
			"counts_as=watchdog_fire", "host=h", "runner=r",
		}},
		{"remediated and critical", "remediator,people", []string{
			"alertname=GhostrunnerDiskCritical", "severity=critical", "layer=disk", "remediation=prune", "recheck=disk",
			"threshold_bytes=2000000000", "target_bytes=12000000000",
		}},
		{"a rule of the user that heals", "remediator,people", []string{"alertname=QueueStuck", "remediation=restart", "runner=r"}},
		{"critical", "people", []string{"alertname=GhostrunnerPATInvalid", "severity=critical", "layer=credential", "host=h"}},
		{"warning", "people", []string{"alertname=GhostrunnerClockDrift", "severity=warning", "layer=clock", "host=h"}},
		{"info", "people", []string{"alertname=GhostrunnerPATExpiring", "severity=info", "layer=credential", "host=h"}},
		{"empty remediation", "people", []string{"alertname=GhostrunnerDiskLow", "remediation="}},
	} {
		t.Run(test.name, func(t *testing.T) {
			run(t, "amtool", append([]string{
				"config", "routes", "test", "--config.file=" + alertmanagerConfig, "--verify.receivers=" + test.receivers,
			}, test.labels...)...)
		})
	}
}

// TestAlertsFollowTheContract checks what remediator, routing and dashboards rely on.
func TestAlertsFollowTheContract(t *testing.T) {
	templated := regexp.MustCompile(`\{\{|\d`)
	plain := regexp.MustCompile(`^([0-9]+[smhd])?$`)
	for _, r := range alerts(t) {
		if !strings.HasPrefix(r.Alert, "Ghostrunner") {
			t.Errorf("%s: the name does not begin with Ghostrunner", r.Alert)
		}
		if s := r.Labels["severity"]; !slices.Contains([]string{"critical", "warning", "info"}, s) &&
			(s != "none" || r.Alert != "GhostrunnerWatchdog") {
			t.Errorf("%s: severity %q", r.Alert, s)
		}
		if l := r.Labels["layer"]; !slices.Contains([]string{
			"clock", "dns", "credential", "github", "docker", "disk", "runner", "pipeline",
		}, l) {
			t.Errorf("%s: layer %q", r.Alert, l)
		}
		if s := r.Annotations["summary"]; s == "" || templated.MatchString(s) || !strings.HasSuffix(s, ".") {
			t.Errorf("%s: summary %q is not one static sentence", r.Alert, s)
		}
		if r.Annotations["description"] == "" {
			t.Errorf("%s: no description", r.Alert)
		}
		checkRemediation(t, r)
		if got, want := r.Annotations["runbook_url"], runbookURL+strings.ToLower(r.Alert); got != want {
			t.Errorf("%s: runbook_url %q, want %q", r.Alert, got, want)
		}
		if !plain.MatchString(r.For) || !plain.MatchString(r.KeepFiringFor) {
			t.Errorf("%s: for %q, keep_firing_for %q: want one number and unit", r.Alert, r.For, r.KeepFiringFor)
		}
		for name, value := range r.Labels {
			// A label that changes makes another alert. Thresholds change only with the
			// configuration.
			if strings.Contains(value, "{{") && (!strings.HasSuffix(name, "_bytes") || strings.Contains(value, "$value")) {
				t.Errorf("%s: label %s has a template that can change while the alert fires: %s", r.Alert, name, value)
			}
		}
	}
}

// checkRemediation checks the labels by which an alert asks the remediator for an action.
func checkRemediation(t *testing.T, r Rule) {
	t.Helper()
	action := r.Labels["remediation"]
	if (action != "") != (r.Annotations["healing"] != "") {
		t.Errorf("%s: annotation healing and label remediation belong together", r.Alert)
	}
	rechecks, ok := map[string][]string{"": {""}, "restart": {"health", "online"}, "backoff": {""}, "prune": {"disk"}}[action]
	if !ok {
		t.Errorf("%s: remediation %q", r.Alert, action)
	}
	if !slices.Contains(rechecks, r.Labels["recheck"]) {
		t.Errorf("%s: recheck %q for remediation %q", r.Alert, r.Labels["recheck"], action)
	}
	for name, want := range map[string]bool{
		"threshold_bytes": action == "prune",
		"target_bytes":    action == "prune",
		"counts_as":       r.Alert == "GhostrunnerRunnerRetryLoop",
		"heartbeat":       r.Alert == "GhostrunnerWatchdog",
	} {
		if (r.Labels[name] != "") != want {
			t.Errorf("%s: label %s is %q", r.Alert, name, r.Labels[name])
		}
	}
}

// TestHealingIsWrittenOnce: a second copy of the template would go its own way.
func TestHealingIsWrittenOnce(t *testing.T) {
	written := 0
	for _, file := range glob(t, "*.yml") {
		written += len(regexp.MustCompile(`(?m)^ +healing: [^*]`).FindAllString(read(t, file), -1))
	}
	if written != 1 {
		t.Errorf("the annotation healing is written %d times", written)
	}
}

// TestAlertsReadAtMostOneRecordingRule keeps an alert readable without a search through other
// rules.
func TestAlertsReadAtMostOneRecordingRule(t *testing.T) {
	recorded := regexp.MustCompile(`\b\w+:\w+:\w+\b`)
	for _, r := range alerts(t) {
		found := recorded.FindAllString(r.Expr, -1)
		slices.Sort(found)
		if found = slices.Compact(found); len(found) > 1 {
			t.Errorf("%s reads several recording rules: %v", r.Alert, found)
		}
	}
}

func TestEveryAlertHasARunbookAndATest(t *testing.T) {
	want := names(alerts(t))

	var headings []string
	for _, m := range regexp.MustCompile(`(?m)^## (Ghostrunner\w+)$`).FindAllStringSubmatch(read(t, runbooks), -1) {
		headings = append(headings, m[1])
	}
	slices.Sort(headings)
	if diff := cmp.Diff(want, headings); diff != "" {
		t.Errorf("alerts (-) and runbooks in %s (+) differ:\n%s", runbooks, diff)
	}

	fired, silent := map[string]bool{}, map[string]bool{}
	for _, file := range glob(t, "tests/*_test.yml") {
		var content struct {
			Tests []struct {
				Cases []struct {
					Alert    string `yaml:"alertname"`
					Expected []any  `yaml:"exp_alerts"`
				} `yaml:"alert_rule_test"`
			}
		}
		if err := yaml.Unmarshal([]byte(read(t, file)), &content); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, test := range content.Tests {
			for _, c := range test.Cases {
				fired[c.Alert] = fired[c.Alert] || len(c.Expected) > 0
				silent[c.Alert] = silent[c.Alert] || len(c.Expected) == 0
			}
		}
	}
	for _, name := range want {
		if !fired[name] {
			t.Errorf("%s: no test in which it fires", name)
		}
		if !silent[name] && name != "GhostrunnerWatchdog" {
			t.Errorf("%s: no test in which it is silent", name)
		}
	}
}

// TestRunbookLinks follows the links of the runbooks within their document.
func TestRunbookLinks(t *testing.T) {
	text := read(t, runbooks)
	anchors := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#+ (.+)$`).FindAllStringSubmatch(text, -1) {
		anchor := regexp.MustCompile(`[^a-z0-9 -]`).ReplaceAllString(strings.ToLower(m[1]), "")
		anchors[strings.ReplaceAll(anchor, " ", "-")] = true
	}
	for _, m := range regexp.MustCompile(`\]\(#([^)]+)\)`).FindAllStringSubmatch(text, -1) {
		if !anchors[m[1]] {
			t.Errorf("%s links to #%s, which is no heading", runbooks, m[1])
		}
	}
}
