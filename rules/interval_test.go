package rules_test

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

// How often each group is judged, which promtool's tests cannot see: they judge all groups at an interval of their own.
func TestEvaluationIntervals(t *testing.T) {
	want := map[string]string{
		"ghostrunner.fast":       "700ms", // with 800 ms between two scrapes: compose/prometheus/prometheus.yml says why they differ
		"ghostrunner.watchdog":   "5s",    // waits for a whole minute, or for six restarts; and the remediator is scraped every 10 s
		"ghostrunner.causes":     "15s",   // the rest is scraped every 15 s, or waits for minutes
		"ghostrunner.disk":       "15s",
		"ghostrunner.pipeline":   "15s",
		"ghostrunner.runners":    "15s",
		"ghostrunner.thresholds": "15s",
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
			if "ghostrunner."+filepath.Base(file) != g.Name+".yml" {
				t.Errorf("%s: group %s is not named like its file", file, g.Name)
			}
			got[g.Name] = g.Interval
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the groups' intervals (-want +got):\n%s", diff)
	}
}
