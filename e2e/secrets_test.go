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

const hubToken = "dckr_pat_of_the_lab"

// place is a place where a user could find a secret.
type place struct {
	name string
	read func(context.Context) (string, error)
	// holds is the one secret that belongs there.
	holds string
}

// Names of the secrets.
const (
	pat          = "PAT"
	webhookToken = "webhook token"
	grafana      = "password of Grafana"
	registration = "registration of a runner"
	dockerHub    = "token of Docker Hub"
)

// secrets are the secrets that must not leak.
func secrets(t *testing.T) map[string]string {
	t.Helper()
	return map[string]string{pat: stack.Token, webhookToken: token(t), grafana: grafanaPassword(t), registration: jitConfig(t), dockerHub: hubToken}
}

func grafanaPassword(t *testing.T) string {
	t.Helper()
	password, err := system.File(t.Context(), "grafana", "/run/ghostrunner/grafana-password")
	if err != nil || password == "" {
		t.Fatalf("Grafana's password: %v", err)
	}
	return password
}

// jitConfig is the common prefix of the just-in-time configurations, which also finds parts of one.
func jitConfig(t *testing.T) string {
	t.Helper()
	blobs, err := system.Lab().JITConfigs(t.Context())
	if err != nil || len(blobs) == 0 || len(blobs[0]) < 1000 {
		t.Fatalf("%d just-in-time configurations: %v", len(blobs), err)
	}
	begin := blobs[0][:40]
	for _, blob := range blobs {
		if !strings.HasPrefix(blob, begin) {
			t.Fatalf("one just-in-time configuration does not start with %s", begin)
		}
	}
	return begin
}

// TestSecretsDoNotLeak looks for every secret, plain and encoded, in everything that a user can
// read after all faults: what Docker reports of containers and images, logs, command lines and
// environments, every page and series, and data on disk.
func TestSecretsDoNotLeak(t *testing.T) {
	secrets := secrets(t)
	for _, p := range places(t) {
		text, err := p.read(t.Context())
		if err != nil {
			t.Errorf("%s cannot be searched: %v", p.name, err)
			continue
		}
		if text == "" {
			t.Errorf("%s is empty", p.name)
		}
		for _, name := range leaks(text, secrets) {
			if name != p.holds {
				t.Errorf("%s shows the %s", p.name, name)
			}
		}
		if strings.HasPrefix(p.name, "docker top") && strings.Contains(text, "--jitconfig") {
			t.Errorf("%s shows the registration of a runner in a command line", p.name)
		}
	}
}

// The search finds each secret where it is stored, and in every encoding.
func TestSecretSearchFindsSecrets(t *testing.T) {
	secrets := secrets(t)
	for _, kept := range []struct{ name, service, folder string }{
		{webhookToken, "alertmanager", "/run/ghostrunner"},
		{grafana, "grafana", "/run/ghostrunner"},
		{pat, "exporter", "/run/github"},
	} {
		container, err := system.ServiceContainer(t.Context(), kept.service)
		if err != nil {
			t.Fatal(err)
		}
		text, err := system.Docker(t.Context(), "cp", container+":"+kept.folder, "-")
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(leaks(text, secrets), kept.name) {
			t.Errorf("%s in %s is not found to hold the %s", kept.folder, kept.service, kept.name)
		}
	}
	// Those of a runner exist only while its listener runs.
	found := map[string]bool{}
	for _, p := range places(t) {
		if p.holds == "" {
			continue
		}
		await(t, p.name+" to show the "+p.holds, func(ctx context.Context) (bool, error) {
			text, err := p.read(ctx)
			return slices.Contains(leaks(text, secrets), p.holds), err
		})
		found[p.holds] = true
	}
	if !found[registration] || !found[dockerHub] {
		t.Errorf("found only %v", found)
	}
	for name, secret := range secrets {
		for _, form := range forms(secret) {
			if !slices.Contains(leaks("text "+form+" text", secrets), name) {
				t.Errorf("the %s as %q is not found", name, form)
			}
		}
	}
	if got := leaks("text", secrets); len(got) != 0 {
		t.Errorf("%v found in a text without secrets", got)
	}
}

// leaks returns the names of the secrets in a text.
func leaks(text string, secrets map[string]string) []string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		if slices.ContainsFunc(forms(secrets[name]), func(form string) bool { return strings.Contains(text, form) }) {
			names = append(names, name)
		}
	}
	return names
}

// forms are the encodings of a secret. In base64 they depend on the position modulo three, and the
// outer characters on what surrounds them, so these are omitted.
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
		all = append(all, place{name: "docker " + strings.Join(args, " "), read: func(ctx context.Context) (string, error) { return output(ctx, "docker", args...) }})
	}
	holds := func(secret string) { all[len(all)-1].holds = secret }
	images := map[string]bool{}
	for _, container := range containers {
		// The lab has the token on its command line.
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
		all = append(all, place{name: "the log of " + container, read: func(ctx context.Context) (string, error) {
			text, err := exec.CommandContext(ctx, "docker", "logs", container).CombinedOutput() // programs log to both streams
			return "log:" + string(text), err                                                   // the log may be empty
		}})
		if running == "true" {
			docker("top", container, "eww", "-o", "pid,args") // with the environment of each process
			if strings.Contains(container, "ci-runner-") {
				holds(registration) // the listener gets it in its environment; a command line would be readable by more users
			}
		}
	}
	for _, id := range slices.Sorted(maps.Keys(images)) {
		docker("image", "inspect", id)
		docker("history", "--no-trunc", id)
	}
	for _, kept := range []struct{ service, path string }{
		{"remediator", "/var/lib/ghostrunner"}, // the journal
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
		if strings.HasPrefix(kept.service, "runner-") {
			holds(dockerHub) // the login of jobs, in a file in their home
		}
	}
	ports := system.Ports
	for port, paths := range map[int][]string{
		ports.Exporter:   {"/", "/metrics", "/-/healthy", "/-/ready"},
		ports.Remediator: {"/", "/metrics", "/-/healthy", "/-/ready", "/api/v1/attempts", "/api/v1/breakers", "/api/v1/status"},
		ports.Prometheus: {
			"/api/v1/status/config", "/api/v1/status/flags", "/api/v1/targets", "/api/v1/rules", "/api/v1/alerts", "/metrics",
			"/federate?match[]=" + url.QueryEscape(`{__name__!=""}`),
		},
		ports.Grafana:      {"/", "/api/health", "/api/search?type=dash-db", "/api/datasources/uid/prometheus/health"},
		ports.Alertmanager: {"/api/v2/status", "/api/v2/alerts", "/api/v2/receivers", "/metrics"},
	} {
		authorization := "Bearer " + token(t)
		if port == ports.Grafana {
			authorization = "Basic " + base64.StdEncoding.EncodeToString([]byte("admin:"+grafanaPassword(t)))
		}
		for _, path := range paths {
			all = append(all, place{name: fmt.Sprintf("%s of port %d", path, port), read: func(ctx context.Context) (string, error) {
				header := http.Header{"Authorization": {authorization}} // pages for operators must not show it either
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
