package rules_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// pintLint returns the arguments of pint for files, offline, under the policy of this folder. A
// warning fails.
func pintLint(files ...string) []string {
	return append([]string{
		"--offline", "--no-color", "--log-level=warn", "--config=.pint.hcl", "lint", "--min-severity=warning", "--fail-on=warning",
	}, files...)
}

func TestRulesFollowThePolicy(t *testing.T) {
	run(t, "pint", pintLint(glob(t, "*.yml")...)...)
}

// TestPolicyRefuses changes a correct rule in one place at a time: a regexp in the policy that
// matches too much would let everything through.
func TestPolicyRefuses(t *testing.T) {
	const good = `groups:
  - name: a
    rules:
      - record: host:ghostrunner_docker_up:min5m
        expr: min by (host) (min_over_time(ghostrunner_docker_up[5m]))
      - alert: GhostrunnerDockerSick
        expr: max by (host) (ghostrunner_docker_up) == 0
        for: 10m
        keep_firing_for: 10m
        labels:
          severity: critical
          layer: docker
          remediation: restart
          recheck: health
        annotations:
          summary: The engine is sick.
          description: The engine of {{ $labels.host }} is sick.
          runbook_url: https://github.com/blueguy23/ghostrunner/blob/main/INCIDENTS.md#ghostrunnerdockersick
`
	for _, test := range []struct{ name, old, new, check string }{
		{"good", "", "", ""},
		{"name of a recording rule", "host:ghostrunner_docker_up:min5m", "ghostrunner_docker_up_min5m", "rule/name"},
		{"name of an alert", "GhostrunnerDockerSick", "DockerSick", "rule/name"},
		{"severity", "severity: critical", "severity: warningly", "rule/label"},
		{"no severity", "severity: critical", "serverity: critical", "rule/label"},
		{"the severity of the heartbeat", "severity: critical", "severity: none", "rule/label"},
		{"layer", "layer: docker", "layer: dockers", "rule/label"},
		{"no layer", "layer: docker", "level: docker", "rule/label"},
		{"remediation", "remediation: restart", "remediation: restart now", "rule/label"},
		{"recheck", "recheck: health", "recheck: weather", "rule/label"},
		{"summary that is templated", "The engine is sick.", "The engine of {{ $labels.host }} is sick.", "alerts/annotation"},
		{"no description", "description:", "descriptive:", "alerts/annotation"},
		{"runbook elsewhere", "https://github.com/", "https://example.com/", "alerts/annotation"},
		{"no runbook", "runbook_url:", "runbook:", "alerts/annotation"},
		{"a container by its name", "The engine of", "The engine of ci-runner-1 on", "rule/reject"},
		{"label that is not there", "The engine of {{ $labels.host }}", "The engine of {{ $labels.runner }}", "alerts/template"},
		{"for", "\n        for: 10m", "\n        for: 2h", "rule/for"},
		{"keep_firing_for", "keep_firing_for: 10m", "keep_firing_for: 2h", "rule/for"},
		{"no condition", "(ghostrunner_docker_up) == 0", "(ghostrunner_docker_up)", "alerts/comparison"},
		{"host is lost", "max by (host)", "max by (runner)", "promql/aggregate"},
		{"job is kept", "max by (host)", "max by (host, job)", "promql/aggregate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if strings.Count(good, test.old) != 1 && test.old != "" {
				t.Fatalf("not exactly once: %q", test.old)
			}
			path := filepath.Join(t.TempDir(), "rules.yml")
			if err := os.WriteFile(path, []byte(strings.Replace(good, test.old, test.new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), tool(t, "pint"), pintLint(path)...).CombinedOutput()
			if (err == nil) != (test.check == "") || !strings.Contains(string(out), test.check) {
				t.Errorf("want %q to complain; got %v\n%s", test.check, err, out)
			}
		})
	}
}
