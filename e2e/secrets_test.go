package e2e_test

import (
	"strings"
	"testing"

	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// TestSecretsAreNowhere looks for the PAT and the webhook token in everything that a curious person can read.
func TestSecretsAreNowhere(t *testing.T) {
	containers, err := system.Containers(t.Context())
	if err != nil || len(containers) == 0 {
		t.Fatalf("containers: %v, %v", containers, err)
	}
	password, err := system.File(t.Context(), "grafana", "/run/ghostrunner/grafana-password")
	if err != nil || password == "" {
		t.Fatalf("Grafana's password: %v", err)
	}
	for _, container := range containers {
		// The simulated GitHub is told the token that it accepts on its command line.
		if strings.HasPrefix(strings.TrimPrefix(container, project+"-"), "lab-1") {
			continue
		}
		for _, args := range [][]string{{"inspect", container}, {"logs", container}} {
			text, err := output(t.Context(), "docker", args...)
			if err != nil {
				t.Fatal(err)
			}
			for name, secret := range map[string]string{"PAT": stack.Token, "webhook token": token(t), "password of Grafana": password} {
				if strings.Contains(text, secret) {
					t.Errorf("docker %s %s shows the %s", args[0], container, name)
				}
			}
		}
	}
	for _, page := range []struct {
		port int
		path string
	}{
		{system.Ports.Exporter, "/metrics"}, {system.Ports.Exporter, "/"}, {system.Ports.Remediator, "/metrics"}, {system.Ports.Remediator, "/"},
		{system.Ports.Prometheus, "/api/v1/status/config"}, {system.Ports.Alertmanager, "/api/v2/status"},
	} {
		_, body, err := system.Get(t.Context(), page.port, page.path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(body), stack.Token) || strings.Contains(string(body), token(t)) {
			t.Errorf("%s of port %d shows a secret", page.path, page.port)
		}
	}
}
