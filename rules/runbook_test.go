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

// Each runbook has the same parts in the same order. Its commands can be copied: they name
// services, subcommands, metrics, variables and files that exist. rules_test.go tests that each
// alert has a runbook.

const compose = "../compose/compose.yaml"

// section is the text under a heading of the second level, by its bold parts.
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

// hasParts fails unless a section has exactly these parts, in this order, and none is empty.
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

// commands returns the lines of the shell blocks, and the text between backticks that begins like a
// command.
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
		if more && slices.Contains([]string{"curl", "date", "df", "docker", "free", "getent", "journalctl", "stat", "sudo", "systemctl"}, program) {
			all = append(all, m[1])
		}
	}
	return all
}

func TestRunbooksHaveTheirParts(t *testing.T) {
	step := regexp.MustCompile(`(?m)^1\. `)
	for _, s := range sections(t, `^Ghostrunner`) {
		hasParts(t, s, "Meaning", "Impact", "Diagnosis", "Automatic action", "Mitigation", "Prevention", "WSL2")
		for _, part := range []string{"Diagnosis", "Mitigation"} {
			if !step.MatchString(s.content[part]) {
				t.Errorf("%s: %s has no numbered steps", s.title, part)
			}
		}
		if len(commands(s.content["Diagnosis"])) == 0 {
			t.Errorf("%s: Diagnosis has no command", s.title)
		}
	}
}

// TestRunbookCommandsAreSingle: a person who copies a line runs one command, without another one in
// it.
func TestRunbookCommandsAreSingle(t *testing.T) {
	several := regexp.MustCompile(`;|&&|\|\||\$\(|\bfor \w+ in\b`)
	for _, command := range commands(read(t, runbooks)) {
		if several.MatchString(command) {
			t.Errorf("several commands in one: %s", command)
		}
	}
	for line := range strings.Lines(fence.ReplaceAllString(read(t, runbooks), "")) {
		if all := commands(line); len(all) > 1 {
			t.Errorf("several commands in one line: %s", all)
		}
	}
}

func TestRunbookCommandsExist(t *testing.T) {
	var stack struct{ Services map[string]any }
	if err := yaml.Unmarshal([]byte(read(t, compose)), &stack); err != nil {
		t.Fatal(err)
	}
	ofCompose := regexp.MustCompile(`docker compose (\w+)((?: +[^ |]+)*)`)
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

// TestRunbookNamesExist checks metrics, of which a prefix is enough, variables and files.
func TestRunbookNamesExist(t *testing.T) {
	text, known := read(t, runbooks), knownMetrics(t)
	for _, name := range regexp.MustCompile(`\bghostrunner_[a-z_-]+`).FindAllString(text, -1) {
		if volume, of := strings.CutPrefix(name, "ghostrunner_"); of && strings.Contains(name, "-") {
			if !regexp.MustCompile(`(?m)^  ` + volume + `:`).MatchString(read(t, compose)) {
				t.Errorf("%s has no volume %s", compose, volume)
			}
			continue
		}
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

// TestIncidentsHaveTests: an entry of the incident log names the test that prevents a repetition.
func TestIncidentsHaveTests(t *testing.T) {
	tests := testFunctions(t)
	for i, s := range sections(t, `^INC-`) {
		if want := regexp.MustCompile(`^INC-\d{3}: \S`); !want.MatchString(s.title) {
			t.Errorf("incident %d: the title %q is not like INC-001: what happened", i+1, s.title)
		}
		hasParts(t, s, "What happened", "Why it could", "What prevents it here")
		named := regexp.MustCompile(`\bTest[A-Z]\w*`).FindAllString(s.content["What prevents it here"], -1)
		if len(named) == 0 {
			t.Errorf("%s: no test is named that prevents a repetition", s.title)
		}
		for _, name := range named {
			if !tests[name] {
				t.Errorf("%s: there is no %s", s.title, name)
			}
		}
	}
}

// testFunctions returns the names of all tests of this repository.
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
