package docs_test

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// undocumented are the variables of the Compose files that only the demo, the tests and unusual
// hosts set.
var undocumented = regexp.MustCompile(`_IMAGE$|_PORT$|_DIR$|HEALTH_|` +
	`^(PROMETHEUS_CONFIG|CONTAINER_PREFIX|COMPOSE_PROJECT_NAME|PROMETHEUS_RETENTION|GRAFANA_MEMORY|PROMETHEUS_MEMORY)$`)

// TestSettingsAreDocumented: compose/.env.example lists every variable that the Compose files read,
// with the same default.
func TestSettingsAreDocumented(t *testing.T) {
	defaults := map[string]string{} // in .env.example
	for _, m := range regexp.MustCompile(`(?m)^#?([A-Z_]+)=(.*)$`).FindAllStringSubmatch(read(t, "../compose/.env.example"), -1) {
		defaults[m[1]] = m[2]
		if undocumented.MatchString(m[1]) {
			t.Errorf(".env.example: %s is for tests and unusual hosts", m[1])
		}
	}
	files, err := filepath.Glob("../compose/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, file := range files {
		if filepath.Base(file) == "demo.yaml" {
			continue
		}
		text := regexp.MustCompile(`(?m)(^|\s)#.*$`).ReplaceAllString(read(t, file), "")
		for _, m := range regexp.MustCompile(`\$\{([A-Z_]+)(?::?-([^}]*))?|environment: ([A-Z_]+)`).FindAllStringSubmatch(text, -1) {
			name, value := m[1]+m[3], m[2]
			if undocumented.MatchString(name) {
				continue
			}
			used[name] = true
			documented, ok := defaults[name]
			if !ok || value != "" && value != documented {
				t.Errorf("%s: %s has the default %q, in .env.example %q (listed: %t)", filepath.Base(file), name, value, documented, ok)
			}
		}
	}
	for name := range defaults {
		if !used[name] && !strings.HasPrefix(name, "COMPOSE_") {
			t.Errorf(".env.example: no Compose file reads %s", name)
		}
	}
}
