package internal_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

// workflow has the parts of a workflow that these tests check; actionlint (`make lint`) checks the
// syntax.
type workflow struct {
	On          map[string]any
	Permissions any
	Jobs        map[string]struct {
		Uses    string
		Timeout int `yaml:"timeout-minutes"`
		Needs   any
		Steps   []struct {
			Uses, Run string
			With      map[string]any
		}
	}
}

const workflows = "../.github/workflows/"

func readWorkflow(t *testing.T, path string) (w workflow, text string) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(b, &w); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return w, string(b)
}

// Actions are pinned to commits, jobs have only the permissions that they need and a time limit, no
// job keeps a token, and no input of outsiders is part of a command.
func TestWorkflowsAreSafe(t *testing.T) {
	files, err := filepath.Glob(workflows + "*.yml")
	if err != nil || len(files) < 2 {
		t.Fatalf("workflows: %v, %v", files, err)
	}
	// `uses: action@<40 hex digits> # vX.Y.Z`, or a workflow of our own.
	pinned := regexp.MustCompile(`(?m)^\s*(?:- )?uses: (?:[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+|\./\.github/workflows/\w+\.yml)$`)
	used := regexp.MustCompile(`(?m)^\s*(?:- )?uses:.*$`)
	for _, file := range files {
		w, text := readWorkflow(t, file)
		name := filepath.Base(file)
		for _, line := range used.FindAllString(text, -1) {
			if !pinned.MatchString(line) {
				t.Errorf("%s: %q is not pinned to a commit with its version beside it", name, strings.TrimSpace(line))
			}
		}
		if p, ok := w.Permissions.(map[string]any); !ok || len(p) != 1 || p["contents"] != "read" {
			t.Errorf("%s: permissions are %v, want contents: read, and more only in the job that needs it", name, w.Permissions)
		}
		for event := range w.On {
			if event == "pull_request_target" || event == "workflow_run" || event == "issue_comment" {
				t.Errorf("%s: runs on %s, which gives outsiders our token", name, event)
			}
		}
		for id, job := range w.Jobs {
			if job.Uses == "" && job.Timeout == 0 {
				t.Errorf("%s: job %s may run for six hours; say timeout-minutes", name, id)
			}
			for _, step := range job.Steps {
				if strings.Contains(step.Run, "${{") {
					t.Errorf("%s: job %s puts an expression into a command; pass it by env: %s", name, id, step.Run)
				}
				if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != false {
					t.Errorf("%s: job %s leaves its token in the work tree; say persist-credentials: false", name, id)
				}
			}
		}
	}
}

// GitHub's CI runs .ci/run, and the tests of the rules as a step of their own.
func TestWorkflowRunsCI(t *testing.T) {
	w, _ := readWorkflow(t, workflows+"ci.yml")
	var commands []string
	for _, step := range w.Jobs["test"].Steps {
		commands = append(commands, step.Run)
	}
	for _, want := range []string{".ci/run", "promtool test rules rules/tests/*_test.yml"} {
		if !slices.ContainsFunc(commands, func(c string) bool { return strings.Contains(c, want) }) {
			t.Errorf("ci.yml does not run %s", want)
		}
	}
	makefile, err := os.ReadFile("../Makefile")
	if err != nil {
		t.Fatal(err)
	}
	release, text := readWorkflow(t, workflows+"release.yml")
	for _, target := range regexp.MustCompile(`make ([a-z]+)`).FindAllStringSubmatch(text, -1) {
		if !regexp.MustCompile(`(?m)^` + target[1] + `:`).Match(makefile) {
			t.Errorf("release.yml runs make %s, which is not there", target[1])
		}
	}
	for id, job := range release.Jobs {
		if id != "test" && job.Needs != "test" {
			t.Errorf("release.yml: job %s does not wait for the tests", id)
		}
	}
	for _, want := range []string{"--sbom=true", "linux/amd64,linux/arm64"} {
		if !strings.Contains(text, want) {
			t.Errorf("release.yml does not build images with %s", want)
		}
	}
}
