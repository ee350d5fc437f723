package compose_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	slots = 8 // that compose.yaml has
	// everySlot are the profiles of those that do not run by themselves.
	everySlot = "runner-3,runner-4,runner-5,runner-6,runner-7,runner-8"
)

// service is what these tests look at of a resolved service; the rest is compared as a whole.
type service struct {
	ContainerName string `json:"container_name"`
	Hostname      string
	Labels        map[string]string
	Environment   map[string]string
	Volumes       []struct {
		Source, Target string
		ReadOnly       bool `json:"read_only"`
	}
	StopGracePeriod string `json:"stop_grace_period"`
	Healthcheck     struct{ Test []string }
	DependsOn       map[string]struct{ Condition string } `json:"depends_on"`
	Restart         string
	NetworkMode     string   `json:"network_mode"`
	SecurityOpt     []string `json:"security_opt"`
	CPUs            float64  `json:"cpus"`
	MemLimit        string   `json:"mem_limit"`
}

// resolve returns the services and the volumes of these files.
func resolve(t *testing.T, env []string, files ...string) (services map[string]json.RawMessage, volumes map[string]any) {
	t.Helper()
	var args []string
	for _, file := range files {
		args = append(args, "-f", file)
	}
	if !slices.Contains(env, "GITHUB_PAT=") {
		env = slices.Concat(required, env)
	}
	out, err := compose(t, env, append(args, "config", "--format=json")...)
	var model struct {
		Services map[string]json.RawMessage
		Volumes  map[string]any
	}
	if err == nil {
		err = json.Unmarshal([]byte(out), &model)
	}
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return model.Services, model.Volumes
}

// decode reads a service.
func decode(t *testing.T, raw json.RawMessage) (s service) {
	t.Helper()
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestThirdSlot resolves the slot that the documents add: the same service under its own name.
func TestThirdSlot(t *testing.T) {
	for _, prefix := range []string{"", "demo-"} {
		services, volumes := resolve(t, []string{"COMPOSE_PROFILES=mongo,runner-3", "CONTAINER_PREFIX=" + prefix}, "compose.yaml")
		got := decode(t, services["runner-3"])
		if got.ContainerName != prefix+"ci-runner-3" || got.Hostname != "ci-runner-3" {
			t.Errorf("the container is %q with the hostname %q", got.ContainerName, got.Hostname)
		}
		if want := map[string]string{"ghostrunner.role": "runner", "ghostrunner.runner": "ci-runner-3", "ghostrunner.heal": "restart,backoff"}; !reflect.DeepEqual(got.Labels, want) {
			t.Errorf("labels %v, want %v", got.Labels, want)
		}
		if name, ok := got.Environment["RUNNER_NAME"]; ok || got.Environment["REPO_OWNER"] != "acme" || got.Environment["GITHUB_PAT_FILE"] != "/run/github/pat" {
			t.Errorf("environment %v, RUNNER_NAME %q", got.Environment, name)
		}
		mounts := map[string]string{}
		for _, v := range got.Volumes {
			mounts[v.Target] = v.Source
			if v.ReadOnly != (v.Target == "/run/github") {
				t.Errorf("%s is read-only: %v", v.Target, v.ReadOnly)
			}
		}
		if want := map[string]string{
			"/actions-runner/_work": "runner-3-work", "/run/github": "github-pat",
			"/var/cache/ghostrunner/playwright": "playwright-cache", "/var/cache/ghostrunner/pnpm": "pnpm-store",
		}; !reflect.DeepEqual(mounts, want) {
			t.Errorf("mounts %v, want %v", mounts, want)
		}
		if got.StopGracePeriod != "1h0m0s" || len(got.Healthcheck.Test) != 3 || got.Restart != "unless-stopped" || got.CPUs != 3 || got.MemLimit == "" ||
			!slices.Contains(got.SecurityOpt, "no-new-privileges:true") || got.DependsOn["init"].Condition != "service_completed_successfully" {
			t.Errorf("not what runner-1 is: %+v", got)
		}
		if _, ok := services["runner-4"]; ok || len(services) == 0 {
			t.Error("runner-4 runs too")
		}
		for volume, want := range map[string]bool{"runner-1-work": true, "runner-2-work": true, "runner-3-work": true, "runner-4-work": false} {
			if _, made := volumes[volume]; made != want {
				t.Errorf("the volume %s is made: %v, want %v", volume, made, want)
			}
		}
	}
}

var slotLine = regexp.MustCompile(`(?m)^  runner-(\d+): \{ extends: runner-1, .*\}\n`)

// TestSlotsDifferByNameAlone wants every further slot to be one line, and to differ from the first
// one in its name only, with every override.
func TestSlotsDifferByNameAlone(t *testing.T) {
	text, err := os.ReadFile("compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if lines := slotLine.FindAllString(string(text), -1); len(lines) != slots-1 {
		t.Fatalf("%d slots have one line, want %d:\n%s", len(lines), slots-1, strings.Join(lines, ""))
	}
	for file, env := range overrides {
		t.Run(file, func(t *testing.T) {
			services, _ := resolve(t, append(env, "COMPOSE_PROFILES="+everySlot), "compose.yaml", file)
			differByNameAlone(t, services, slots)
		})
	}
	t.Run("demo.yaml", func(t *testing.T) {
		services, _ := resolve(t, []string{"LAB_IMAGE=lab", "LAB_PORT=1", "CONTAINER_PREFIX=x-", "COMPOSE_PROFILES=" + everySlot}, "compose.yaml", "demo.yaml")
		differByNameAlone(t, services, slots)
	})
}

// TestNinthSlot follows the comment above the lines and docs/scaling.md: a copy of the last line
// with another number, and its volume.
func TestNinthSlot(t *testing.T) {
	text, err := os.ReadFile("compose.yaml")
	if err != nil {
		t.Fatal(err)
	}
	lines := slotLine.FindAllString(string(text), -1)
	last := lines[len(lines)-1]
	ninth := strings.ReplaceAll(last, "-8", "-9")
	if page, err := os.ReadFile("../docs/scaling.md"); err != nil || !strings.Contains(string(page), "```yaml\n"+ninth+"```\n") {
		t.Errorf("docs/scaling.md shows another line than this one (%v):\n%s", err, ninth)
	}
	more := strings.Replace(string(text), last, last+ninth, 1)
	more = strings.Replace(more, "\n  runner-8-work:\n", "\n  runner-8-work:\n  runner-9-work:\n", 1)
	file := filepath.Join(t.TempDir(), "compose.yaml")
	if err := os.WriteFile(file, []byte(more), 0o600); err != nil {
		t.Fatal(err)
	}
	services, volumes := resolve(t, []string{"COMPOSE_PROFILES=" + everySlot + ",runner-9"}, file)
	differByNameAlone(t, services, slots+1)
	if _, ok := volumes["runner-9-work"]; !ok {
		t.Error("it has no volume of its own")
	}
}

// differByNameAlone compares every slot with the first one.
func differByNameAlone(t *testing.T, services map[string]json.RawMessage, want int) {
	t.Helper()
	read := func(name string) (text string) {
		var all map[string]any
		if err := json.Unmarshal(services[name], &all); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		delete(all, "profiles")
		b, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	first := read("runner-1")
	for n := 2; n <= want; n++ {
		name := "runner-" + strconv.Itoa(n)
		got := read(name)
		if strings.Contains(got, "runner-1") {
			t.Errorf("%s has the name of runner-1 somewhere: %s", name, got)
		}
		if as1 := strings.ReplaceAll(got, name, "runner-1"); as1 != first {
			t.Errorf("%s differs from runner-1 in more than its name:\n%s\n%s", name, as1, first)
		}
	}
	if _, ok := services[fmt.Sprintf("runner-%d", want+1)]; ok {
		t.Errorf("more than %d slots", want)
	}
}
