package e2e_test

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/blueguy23/ghostrunner/e2e/stack"
)

// place is somewhere that a curious person can look.
type place struct {
	name string
	read func(context.Context) (string, error)
}

// TestSecretsAreNowhere looks for the PAT, the webhook token and the password of Grafana, as they are and as they are often written, in everything that
// a curious person can read once the demo has been through all its faults: what Docker says of containers and images, logs,
// command lines and environments of processes, every page and every series, and what is kept on disk.
func TestSecretsAreNowhere(t *testing.T) {
	password, err := system.File(t.Context(), "grafana", "/run/ghostrunner/grafana-password")
	if err != nil || password == "" {
		t.Fatalf("Grafana's password: %v", err)
	}
	secrets := map[string]string{"PAT": stack.Token, "webhook token": token(t), "password of Grafana": password}
	for _, p := range places(t) {
		text, err := p.read(t.Context())
		if err != nil {
			t.Errorf("%s cannot be searched: %v", p.name, err)
			continue
		}
		if text == "" {
			t.Errorf("%s is empty, so that nothing can be found there", p.name)
		}
		for _, name := range leaks(text, secrets) {
			t.Errorf("%s shows the %s", p.name, name)
		}
		if strings.HasPrefix(p.name, "docker top") && strings.Contains(text, "--jitconfig") {
			t.Errorf("%s shows the registration of a runner in a command line", p.name)
		}
	}
}

// The search itself: it finds the webhook token where it is kept, read as all else is read.
func TestSecretsCanBeFound(t *testing.T) {
	secrets := map[string]string{"webhook token": token(t)}
	container, err := system.ServiceContainer(t.Context(), "alertmanager")
	if err != nil {
		t.Fatal(err)
	}
	kept, err := system.Docker(t.Context(), "cp", container+":/run/ghostrunner", "-")
	if err != nil {
		t.Fatal(err)
	}
	if len(leaks(kept, secrets)) == 0 {
		t.Error("not even the file with the token is found to have it")
	}
	for _, form := range forms(token(t)) {
		if len(leaks("text "+form+" text", secrets)) == 0 {
			t.Errorf("%q is not found", form)
		}
	}
	if len(leaks("text", secrets)) != 0 {
		t.Error("it is found where it is not")
	}
}

// leaks returns the names of the secrets that a text has.
func leaks(text string, secrets map[string]string) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		if slices.ContainsFunc(forms(secrets[name]), func(form string) bool { return strings.Contains(text, form) }) {
			names = append(names, name)
		}
	}
	return names
}

// forms are the ways to write a secret. What base64 makes of it depends on what stands before it, by three positions; the
// outer characters depend on the neighbours, too, and are left off.
func forms(secret string) []string {
	all := []string{secret, url.QueryEscape(secret), hex.EncodeToString([]byte(secret))}
	for before := range 3 {
		text := strings.Repeat("x", before) + secret
		encoded := base64.RawStdEncoding.EncodeToString([]byte(text))
		encoded = encoded[(before*8+5)/6 : len(text)*8/6]
		all = append(all, encoded, strings.NewReplacer("+", "-", "/", "_").Replace(encoded))
	}
	return all
}

func places(t *testing.T) []place {
	t.Helper()
	containers, err := system.Containers(t.Context())
	if err != nil || len(containers) == 0 {
		t.Fatalf("containers: %v, %v", containers, err)
	}
	var all []place
	docker := func(args ...string) {
		all = append(all, place{"docker " + strings.Join(args, " "), func(ctx context.Context) (string, error) { return output(ctx, "docker", args...) }})
	}
	images := map[string]bool{}
	for _, container := range containers {
		// The simulated GitHub is told the token that it accepts on its command line.
		if strings.HasPrefix(strings.TrimPrefix(container, project+"-"), "lab-1") {
			continue
		}
		image, err := output(t.Context(), "docker", "inspect", "--format", "{{.Image}} {{.State.Running}}", container)
		if err != nil {
			t.Fatal(err)
		}
		id, running, _ := strings.Cut(strings.TrimSpace(image), " ")
		images[id] = true
		docker("inspect", container)
		all = append(all, place{"the log of " + container, func(ctx context.Context) (string, error) {
			text, err := exec.CommandContext(ctx, "docker", "logs", container).CombinedOutput() // programs log to both
			return "log:" + string(text), err                                                   // may well be empty
		}})
		if running == "true" {
			docker("top", container, "eww", "-o", "pid,args") // with the environment of each process
		}
	}
	for _, id := range slices.Sorted(maps.Keys(images)) {
		docker("image", "inspect", id)
		docker("history", "--no-trunc", id)
	}
	for _, kept := range []struct{ service, path string }{
		{"remediator", "/var/lib/ghostrunner"}, // the journal
		{"exporter", "/var/lib/ghostrunner"},
		{"alertmanager", "/alertmanager"},
		{"prometheus", "/prometheus"},
		{"runner-1", "/actions-runner"},
		{"runner-2", "/actions-runner"},
	} {
		container, err := system.ServiceContainer(t.Context(), kept.service)
		if err != nil {
			t.Fatal(err)
		}
		docker("cp", container+":"+kept.path, "-")
	}
	ports := system.Ports
	for port, paths := range map[int][]string{
		ports.Exporter:   {"/", "/metrics", "/-/healthy", "/-/ready"},
		ports.Remediator: {"/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/attempts", "/api/v1/breakers", "/api/v1/status"},
		ports.Prometheus: {
			"/api/v1/status/config", "/api/v1/status/flags", "/api/v1/targets", "/api/v1/rules", "/api/v1/alerts", "/metrics",
			"/federate?match[]=" + url.QueryEscape(`{__name__!=""}`),
		},
		ports.Alertmanager: {"/api/v2/status", "/api/v2/alerts", "/api/v2/receivers", "/metrics"},
	} {
		for _, path := range paths {
			all = append(all, place{fmt.Sprintf("%s of port %d", path, port), func(ctx context.Context) (string, error) {
				header := http.Header{"Authorization": {"Bearer " + token(t)}} // what only operators see must not show it either
				status, body, err := system.Do(ctx, http.MethodGet, port, path, header, nil)
				if err == nil && status != http.StatusOK {
					err = fmt.Errorf("status %d", status)
				}
				return string(body), err
			}})
		}
	}
	return all
}
