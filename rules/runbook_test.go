package rules_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"gopkg.in/yaml.v3"
)

// A runbook is read at night. It has the same parts in the same order each time, and its commands can be copied and run: they
// name services, subcommands, metrics, variables and files that exist. That each alert has one is in rules_test.go.

const compose = "../compose/compose.yaml"

// section is what stands under a heading of the second level, by its bold parts.
type section struct {
	title, text string
	parts       []string
	content     map[string]string
}

func sections(t *testing.T, titles string) []section {
	t.Helper()
	bold := regexp.MustCompile(`(?m)^\*\*([^*]+)\*\*`)
	var all []section
	for _, text := range regexp.MustCompile(`(?m)^##? `).Split(read(t, runbooks), -1) {
		title, body, _ := strings.Cut(text, "\n")
		if !regexp.MustCompile(titles).MatchString(title) {
			continue
		}
		s := section{title: title, text: body, content: map[string]string{}}
		at := bold.FindAllStringSubmatchIndex(body, -1)
		for i, m := range at {
			end := len(body)
			if i+1 < len(at) {
				end = at[i+1][0]
			}
			name := body[m[2]:m[3]]
			s.parts = append(s.parts, name)
			s.content[name] = strings.TrimSpace(body[m[1]:end])
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		t.Fatalf("%s has no heading like %s", runbooks, titles)
	}
	return all
}

// hasParts fails unless a section has exactly these parts, in this order, and says something in each.
func hasParts(t *testing.T, s section, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, s.parts); diff != "" {
		t.Errorf("%s: parts want (-), got (+):\n%s", s.title, diff)
	}
	for _, part := range want {
		if s.content[part] == "" {
			t.Errorf("%s: %s is empty", s.title, part)
		}
	}
}

var (
	fence = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")
	span  = regexp.MustCompile("`([^`\n]+)`")
)

// commands are the lines of its shell blocks, and what stands between backticks and begins like a command.
func commands(text string) []string {
	var all []string
	for _, block := range fence.FindAllStringSubmatch(text, -1) {
		for line := range strings.Lines(block[1]) {
			command, _, _ := strings.Cut(line, " # ")
			all = append(all, strings.TrimSpace(command))
		}
	}
	for _, m := range span.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
		program, _, more := strings.Cut(m[1], " ")
		if more && slices.Contains([]string{"curl", "date", "df", "docker", "free", "getent", "journalctl", "sudo", "systemctl"}, program) {
			all = append(all, m[1])
		}
	}
	return all
}

func TestRunbooksHaveTheirParts(t *testing.T) {
	for _, s := range sections(t, `^Ghostrunner`) {
		hasParts(t, s, "Means", "Impact", "Confirm", "ghostrunner does", "If that was not enough", "Prevent", "WSL2")
		if len(commands(s.content["Confirm"])) == 0 {
			t.Errorf("%s: Confirm has no command that could be copied", s.title)
		}
	}
}

func TestRunbookCommandsExist(t *testing.T) {
	var stack struct{ Services map[string]any }
	if err := yaml.Unmarshal([]byte(read(t, compose)), &stack); err != nil {
		t.Fatal(err)
	}
	ofCompose := regexp.MustCompile(`docker compose (\w+)((?: +[^ ;|&]+)*)`)
	found := 0
	for _, command := range commands(read(t, runbooks)) {
		for _, m := range ofCompose.FindAllStringSubmatch(command, -1) {
			words := slices.DeleteFunc(strings.Fields(m[2]), func(w string) bool { return strings.HasPrefix(w, "-") })
			if m[1] != "exec" {
				for _, service := range words {
					if stack.Services[service] == nil {
						t.Errorf("%s: %s has no service %s", command, compose, service)
					}
				}
				continue
			}
			if len(words) < 2 || stack.Services[words[0]] == nil {
				t.Errorf("%s: want a service of %s and a command", command, compose)
				continue
			}
			found++
			program := map[string]string{"/ghostrunner": words[0], "ghostrunner-runner": "runner"}[words[1]]
			if program == "" {
				continue // not ours
			}
			if flags := read(t, filepath.Join("../cmd", program, "flags.go")); len(words) < 3 || !strings.Contains(flags, `Command("`+words[2]+`"`) {
				t.Errorf("%s: cmd/%s has no such subcommand", command, program)
			}
		}
	}
	if found == 0 {
		t.Errorf("no docker compose exec in %s", runbooks)
	}
}

// Metrics may be named by their beginning, as grep wants them.
func TestRunbookNamesExist(t *testing.T) {
	text, known := read(t, runbooks), knownMetrics(t)
	for _, name := range regexp.MustCompile(`\bghostrunner_[a-z_]+`).FindAllString(text, -1) {
		exists := false
		for metric := range known {
			exists = exists || strings.HasPrefix(metric, name)
		}
		if !exists {
			t.Errorf("no metric begins with %s", name)
		}
	}
	settings := read(t, compose)
	for _, m := range regexp.MustCompile("`([A-Z]+(?:_[A-Z]+)+)(?:=\\w+)?`").FindAllStringSubmatch(text, -1) {
		if !regexp.MustCompile(`\b` + m[1] + `\b`).MatchString(settings) {
			t.Errorf("%s is no variable of %s", m[1], compose)
		}
	}
	for _, m := range regexp.MustCompile("`([a-z0-9_]+(?:/[a-z0-9_]+)+\\.[a-z]+)`").FindAllStringSubmatch(text, -1) {
		if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
			t.Error(err)
		}
	}
}

// An incident that no test guards against happens again.
func TestIncidentsAreGuarded(t *testing.T) {
	tests := testFunctions(t)
	for i, s := range sections(t, `^INC-`) {
		if want := regexp.MustCompile(`^INC-\d{3}: \S`); !want.MatchString(s.title) {
			t.Errorf("incident %d: the title %q is not like INC-001: what happened", i+1, s.title)
		}
		hasParts(t, s, "What happened", "Why it could", "What prevents it here")
		named := regexp.MustCompile(`\bTest[A-Z]\w*`).FindAllString(s.content["What prevents it here"], -1)
		if len(named) == 0 {
			t.Errorf("%s: no test is named that keeps it from happening again", s.title)
		}
		for _, name := range named {
			if !tests[name] {
				t.Errorf("%s: there is no %s", s.title, name)
			}
		}
	}
}

// testFunctions finds the name of every test of this repository.
func testFunctions(t *testing.T) map[string]bool {
	t.Helper()
	found := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	for _, dir := range []string{"cmd", "compose", "e2e", "internal", "rules"} {
		err := filepath.WalkDir(filepath.Join("..", dir), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			for _, m := range function.FindAllSubmatch(b, -1) {
				found[string(m[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return found
}
