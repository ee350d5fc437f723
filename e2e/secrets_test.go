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
	"strconv"
	"strings"
	"testing"

	"github.com/blueguy23/ghostrunner/e2e/stack"
	"github.com/blueguy23/ghostrunner/internal/lab"
)

const hubToken = "dckr_pat_of_the_lab"

// place is somewhere that a curious person can look.
type place struct {
	name string
	read func(context.Context) (string, error)
	// holds is the one secret that must be there: its readers read it there.
	holds string
}

// The names of the secrets.
const (
	pat          = "PAT"
	webhookToken = "webhook token"
	grafana      = "password of Grafana"
	registration = "registration of a runner"
	dockerHub    = "token of Docker Hub"
)

// secrets are what is looked for.
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

// jitConfig is how each just-in-time configuration begins that the simulated GitHub has handed out, so that half of one is found too.
func jitConfig(t *testing.T) string {
	t.Helper()
	blobs, err := lab.NewClient("http://127.0.0.1:" + strconv.Itoa(system.Ports.Lab)).JITConfigs(t.Context())
	if err != nil || len(blobs) == 0 || len(blobs[0]) < 1000 {
		t.Fatalf("%d just-in-time configurations: %v", len(blobs), err)
	}
	begin := blobs[0][:40]
	for _, blob := range blobs {
		if !strings.HasPrefix(blob, begin) {
			t.Fatalf("one just-in-time configuration begins otherwise than %s", begin)
		}
	}
	return begin
}

// TestSecretsAreNowhere looks for every secret, as it is and as it is often written, in everything that
// a curious person can read once the demo has been through all its faults: what Docker says of containers and images, logs,
// command lines and environments of processes, every page and every series, and what is kept on disk.
func TestSecretsAreNowhere(t *testing.T) {
	secrets := secrets(t)
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
			if name != p.holds {
				t.Errorf("%s shows the %s", p.name, name)
			}
		}
		if strings.HasPrefix(p.name, "docker top") && strings.Contains(text, "--jitconfig") {
			t.Errorf("%s shows the registration of a runner in a command line", p.name)
		}
	}
}

// The search itself: it finds each secret where it is kept, read as all else is read, and in every form.
func TestSecretsCanBeFound(t *testing.T) {
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
	// What a runner's places hold comes and goes with its listener.
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
		t.Errorf("%v is found where it is not", got)
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
		all = append(all, place{name: "docker " + strings.Join(args, " "), read: func(ctx context.Context) (string, error) { return output(ctx, "docker", args...) }})
	}
	holds := func(secret string) { all[len(all)-1].holds = secret }
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
		all = append(all, place{name: "the log of " + container, read: func(ctx context.Context) (string, error) {
			text, err := exec.CommandContext(ctx, "docker", "logs", container).CombinedOutput() // programs log to both
			return "log:" + string(text), err                                                   // may well be empty
		}})
		if running == "true" {
			docker("top", container, "eww", "-o", "pid,args") // with the environment of each process
			if strings.Contains(container, "ci-runner-") {
				holds(registration) // the listener takes it from its environment or from its command line, which more can see
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
			holds(dockerHub) // jobs are logged in, by a file in their home
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
				header := http.Header{"Authorization": {authorization}} // what only operators see must not show it either
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
