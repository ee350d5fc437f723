package docs_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// TestGeneratedAlertTable compares docs/alerts.md with the rules.
func TestGeneratedAlertTable(t *testing.T) {
	files, err := filepath.Glob("../rules/*.yml")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{}
	for _, file := range files {
		var content struct {
			Groups []struct {
				Rules []struct {
					Alert, For          string
					Labels, Annotations map[string]string
				}
			}
		}
		if err := yaml.Unmarshal([]byte(read(t, file)), &content); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, group := range content.Groups {
			for _, r := range group.Rules {
				if r.Alert == "" {
					continue
				}
				rows[r.Labels["layer"]] = append(rows[r.Labels["layer"]], fmt.Sprintf("| [%s](../INCIDENTS.md#%s) | %s | %s | %s | %s | [%s](%s) |\n",
					r.Alert, strings.ToLower(r.Alert), r.Annotations["summary"], r.For, r.Labels["severity"], r.Labels["remediation"], filepath.Base(file), file))
			}
		}
	}
	var want strings.Builder
	want.WriteString("\n| alert | meaning | for | severity | action | rule |\n|---|---|---|---|---|---|\n")
	for _, layer := range []string{"clock", "dns", "credential", "github", "docker", "disk", "runner", "pipeline"} {
		if rows[layer] == nil {
			t.Errorf("no alert of layer %s", layer)
		}
		want.WriteString(strings.Join(rows[layer], ""))
		delete(rows, layer)
	}
	for layer := range rows {
		t.Errorf("alerts of layer %q are not in the table", layer)
	}
	generated(t, "alerts.md", "alerts", want.String()+"\n")
}
