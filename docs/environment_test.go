package docs_test

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// plumbing are variables of the Compose files that nobody needs to set who runs ghostrunner: they let the demo, the tests and
// unusual hosts put something else in its place.
var plumbing = regexp.MustCompile(`_IMAGE$|_PORT$|_DIR$|^(PROMETHEUS_CONFIG|CONTAINER_PREFIX|COMPOSE_PROJECT_NAME|PROMETHEUS_RETENTION|GRAFANA_MEMORY|PROMETHEUS_MEMORY|HEALTH_INTERVAL|RUNNER_HEALTH_INTERVAL|RUNNER_HEALTH_START_PERIOD)$`)

// TestEnvironment compares the table in README.md with compose/.env.example and the Compose files.
func TestEnvironment(t *testing.T) {
	_, table, _ := strings.Cut(read(t, "../README.md"), "| variable | default | meaning |")
	table, _, _ = strings.Cut(table, "\n\n")
	inTable := map[string]string{} // its default
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 || !strings.Contains(cells[1], "`") {
			continue
		}
		names := regexp.MustCompile("`([A-Z_]+)`").FindAllStringSubmatch(cells[1], -1)
		defaults := strings.Split(cells[2], ",`")
		if strings.Contains(cells[2], "`, `") {
			defaults = strings.Split(cells[2], ", `")
		}
		for i, name := range names {
			value := defaults[min(i, len(defaults)-1)]
			inTable[name[1]] = strings.Trim(value, " `")
		}
	}
	inExample := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^#?([A-Z_]+)=(.*)$`).FindAllStringSubmatch(read(t, "../compose/.env.example"), -1) {
		inExample[m[1]] = true
		if value, ok := inTable[m[1]]; ok && m[2] != "" && value != m[2] && !strings.HasPrefix(value, "pinned") {
			t.Errorf("%s: .env.example says %q, README.md says %q", m[1], m[2], value)
		}
	}
	files, err := filepath.Glob("../compose/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	inCompose := map[string]bool{}
	for _, file := range files {
		if filepath.Base(file) == "demo.yaml" {
			continue
		}
		text := regexp.MustCompile(`(?m)(^|\s)#.*$`).ReplaceAllString(read(t, file), "")
		for _, m := range regexp.MustCompile(`\$\{([A-Z_]+)(?::?-([^}]*))?|environment: ([A-Z_]+)`).FindAllStringSubmatch(text, -1) {
			name := m[1] + m[3]
			inCompose[name] = true
			if value, ok := inTable[name]; ok && m[2] != "" && value != m[2] && !strings.HasPrefix(value, "pinned") {
				t.Errorf("%s: %s takes %q, README.md says %q", name, filepath.Base(file), m[2], value)
			}
		}
	}
	var all []string
	for _, set := range []map[string]bool{inExample, inCompose} {
		for name := range set {
			all = append(all, name)
		}
	}
	for name := range inTable {
		all = append(all, name)
	}
	slices.Sort(all)
	for _, name := range slices.Compact(all) {
		_, told := inTable[name]
		switch {
		case plumbing.MatchString(name):
			if told {
				t.Errorf("%s is plumbing (environment_test.go), and README.md tells everybody of it", name)
			}
		case !told || !inExample[name] || !inCompose[name] && !strings.HasPrefix(name, "COMPOSE_"):
			t.Errorf("%s: in README.md %v, in a Compose file %v, in .env.example %v: want all three", name, told, inCompose[name], inExample[name])
		}
	}
}
