package rules_test

import (
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// A threshold that dashboards draw elsewhere than the alert fires would be believed. So what is recorded of it must stand,
// word for word, in the alert that it is of, up to which hosts the default is for.
func TestRecordedThresholdsAreTheAlerts(t *testing.T) {
	alertOf := map[string]string{
		"clock_drift_seconds": "GhostrunnerClockDrift",
		"disk_prune_bytes":    "GhostrunnerDiskLow",
		"watchdog_max_fires":  "GhostrunnerWatchdogStorm",
	}
	var content struct {
		Groups []struct {
			Rules []struct {
				Expr   string
				Labels struct{ Name string }
			}
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "thresholds.yml")), &content); err != nil {
		t.Fatal(err)
	}
	words := func(s string) string { return strings.Join(strings.Fields(s), " ") }
	const hosts = " * group by (host) ("
	for _, group := range content.Groups {
		for _, rule := range group.Rules {
			alert, known := alertOf[rule.Labels.Name]
			if !known {
				t.Errorf("threshold %q is recorded, and this test does not know of which alert it is", rule.Labels.Name)
			}
			delete(alertOf, rule.Labels.Name)
			threshold, _, found := strings.Cut(words(rule.Expr), hosts)
			if !found {
				t.Errorf("threshold %q has no default", rule.Labels.Name)
			}
			for _, r := range alerts(t) {
				if r.Alert == alert && !strings.Contains(words(r.Expr), threshold+hosts) {
					t.Errorf("%s compares with another threshold than the recorded %s:\n%s", alert, rule.Labels.Name, rule.Expr)
				}
			}
		}
	}
	for name := range alertOf {
		t.Errorf("threshold %s is not recorded", name)
	}
}
