package rules_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

// TestEvaluationIntervals checks how often each group is evaluated. promtool's tests do not see
// that: they evaluate all groups at an interval of their own.
func TestEvaluationIntervals(t *testing.T) {
	want := map[string]string{
		"ghostrunner.fast":        "700ms", // scraped every 800 ms: compose/prometheus/prometheus.yml says why they differ
		"ghostrunner.watchdog":    "5s",    // waits for a minute, or for six restarts; the remediator is scraped every 10 s
		"ghostrunner.remediation": "15s",   // the rest is scraped every 15 s, or waits for minutes
		"ghostrunner.causes":      "15s",
		"ghostrunner.pipeline":    "15s",
		"ghostrunner.runners":     "15s",
	}
	got := map[string]string{}
	for _, file := range glob(t, "*.yml") {
		var content struct {
			Groups []struct{ Name, Interval string }
		}
		if err := yaml.Unmarshal([]byte(read(t, file)), &content); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, g := range content.Groups {
			got[g.Name] = g.Interval
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the groups' intervals (-want +got):\n%s", diff)
	}
}
