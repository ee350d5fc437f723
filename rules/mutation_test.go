//go:build mutation

// Behind a tag because it takes minutes: `make mutation-test`. The intervals of the groups, which
// promtool does not see, are tested in interval_test.go.

package rules_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"gopkg.in/yaml.v3"
)

// mutation is one small change of one rule: > instead of >=, half a window, one restart more.
type mutation struct {
	file, rule string // causes.yml, and the alert or record in it
	at         int    // byte offset in the file
	from, to   string
	line       int
	context    string // the line of the file, without its indentation
}

// String identifies a mutation within its file and does not depend on the position of other rules.
func (m mutation) String() string {
	return fmt.Sprintf("%s: %s: %s becomes %s", m.rule, m.context, m.from, m.to)
}

// in returns the file with the mutation.
func (m mutation) in(text string) string {
	return text[:m.at] + m.to + text[m.at+len(m.from):]
}

// mutatedWord has the replacements of a word or an operator outside of a selector, used one at a
// time: its neighbor at the boundary and its opposite.
var mutatedWord = map[string][]string{
	">": {">=", "<"}, ">=": {">", "<="},
	"<": {"<=", ">"}, "<=": {"<", ">="},
	"==": {"!="}, "!=": {"=="},
	"and": {"unless"}, "unless": {"and"}, "or": {"and"},
	"min": {"max"}, "max": {"min"},
	"min_over_time":  {"max_over_time", "last_over_time"},
	"max_over_time":  {"min_over_time", "last_over_time"},
	"last_over_time": {"min_over_time", "max_over_time"},
}

// mutatedMatcher is the same for the operators of a selector.
var mutatedMatcher = map[string][]string{"=": {"!="}, "!=": {"="}, "=~": {"!~"}, "!~": {"=~"}}

// equivalent are the mutations that change no alert, with the reason.
var equivalent = map[string]string{
	"GhostrunnerWatchdog: expr: vector(1): 1 becomes 0": "an alert fires for each series, with any value",
	"GhostrunnerWatchdog: expr: vector(1): 1 becomes 2": "an alert fires for each series, with any value",
}

// One word of PromQL: a string, a duration, a number, a name, an operator, or a brace.
var token = regexp.MustCompile(`"[^"]*"|(?:\d+(?:ms|[smhdwy]))+|\d+(?:\.\d+)?(?:e\d+)?|[a-zA-Z_:][\w:]*|[=!]~|[=!<>]=|[<>=]|[{}]`)

// replacements returns what replaces a token, one at a time.
func replacements(t *testing.T, word string, inSelector bool) []string {
	t.Helper()
	if inSelector {
		return mutatedMatcher[word]
	}
	if r := mutatedWord[word]; r != nil {
		return r
	}
	if d, err := model.ParseDuration(word); err == nil && word != "0" {
		return []string{(d / 2).String(), (d * 2).String()}
	}
	n, err := strconv.ParseFloat(word, 64)
	if err != nil {
		return nil // a name, a string
	}
	step := 1.0
	if n != math.Trunc(n) {
		step = n / 20
	}
	write := func(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }
	return []string{write(n - step), write(n + step)}
}

// mutations returns every mutation of a rule file.
func mutations(t *testing.T, file, text string) []mutation {
	t.Helper()
	var content struct {
		Groups []struct{ Rules []map[string]yaml.Node }
	}
	if err := yaml.Unmarshal([]byte(text), &content); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	lines := strings.SplitAfter(text, "\n")
	offset := func(line int) int { return len(strings.Join(lines[:line-1], "")) } // of a line, the first being 1

	var all []mutation
	for _, group := range content.Groups {
		for _, rule := range group.Rules {
			name := cmp.Or(rule["alert"].Value, rule["record"].Value)
			for _, key := range []string{"expr", "for", "keep_firing_for"} {
				value, ok := rule[key]
				if !ok {
					continue
				}
				begin := offset(value.Line) + value.Column - 1
				end := begin + len(value.Value)
				if value.Style == yaml.LiteralStyle {
					begin = offset(value.Line + 1)
					end = offset(value.Line + 1 + strings.Count(value.Value, "\n"))
				} else if text[begin:end] != value.Value {
					t.Fatalf("%s:%d: %s cannot be read; write it plain or after |", file, value.Line, key)
				}
				inSelector := false
				for _, at := range token.FindAllStringIndex(text[begin:end], -1) {
					word := text[begin+at[0] : begin+at[1]]
					inSelector = word == "{" || inSelector && word != "}"
					line := 1 + strings.Count(text[:begin+at[0]], "\n")
					for _, to := range replacements(t, word, inSelector) {
						all = append(all, mutation{
							file: file, rule: name, at: begin + at[0], from: word, to: to,
							line: line, context: strings.TrimSpace(lines[line-1]),
						})
					}
				}
			}
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s: no rule that can be mutated", file)
	}
	return all
}

// testsOf returns, for each rule file, the test files that load it.
func testsOf(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string][]string{}
	for _, file := range glob(t, "tests/*_test.yml") {
		var content struct {
			Rules []string `yaml:"rule_files"`
		}
		if err := yaml.Unmarshal([]byte(read(t, file)), &content); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, rules := range content.Rules {
			all[filepath.Base(rules)] = append(all[filepath.Base(rules)], file)
		}
	}
	return all
}

// likely matches the names of the tests that probably fail if a rule changes: those that name the
// alert, or an alert that reads the record.
func likely(rules []Rule, name string) string {
	var own []string
	for _, r := range rules {
		if r.Alert == name || strings.Contains(r.Expr, name) {
			own = append(own, strings.TrimPrefix(r.Alert, "Ghostrunner"))
		}
	}
	return `\b(` + strings.Join(own, "|") + `)\b`
}

// passes reports whether promtool finds no failure.
func passes(t *testing.T, dir string, args ...string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, tool(t, "promtool"), append([]string{"test", "rules"}, args...)...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && (!errors.As(err, &exit) || exit.ExitCode() != 1) {
		t.Fatalf("promtool test rules %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return err == nil
}

// TestEveryMutationIsCaught demands that a test fails for each mutation of the rules. The tests of
// the rule's own alert run first, and all tests of its file if those pass. To try one file:
//
//	go test -tags=mutation -run='TestEveryMutationIsCaught/mutations/causes.yml' ./rules
func TestEveryMutationIsCaught(t *testing.T) {
	rules, tests, text := alerts(t), testsOf(t), map[string]string{}
	for _, file := range slices.Concat(glob(t, "*.yml"), glob(t, "tests/*_test.yml")) {
		text[file] = read(t, file)
	}
	var all []mutation
	for _, file := range glob(t, "*.yml") {
		if !passes(t, ".", tests[file]...) {
			t.Fatalf("%s: its tests fail without a mutation; see TestRules", file)
		}
		all = append(all, mutations(t, file, text[file])...)
	}

	// A rule that does not load fails every test, so each mutation must load.
	dir, args := t.TempDir(), []string{"check", "rules", "--lint=none"}
	for i, m := range all {
		path := filepath.Join(dir, fmt.Sprintf("%s-line-%d-mutation-%d.yml", m.file, m.line, i))
		if err := os.WriteFile(path, []byte(m.in(text[m.file])), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	run(t, "promtool", args...)

	missing := maps.Clone(equivalent)
	for _, m := range all {
		delete(missing, m.String())
	}
	for name := range missing {
		t.Errorf("%q is listed as equivalent, but there is no such mutation", name)
	}

	var survivors atomic.Int64
	t.Run("mutations", func(t *testing.T) {
		for _, m := range all {
			t.Run(fmt.Sprintf("%s:%d", m.file, m.line), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				if err := os.Mkdir(filepath.Join(dir, "tests"), 0o700); err != nil {
					t.Fatal(err)
				}
				for file, content := range text {
					if file == m.file {
						content = m.in(content)
					}
					if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				survives := passes(t, dir, append([]string{"--run=" + likely(rules, m.rule)}, tests[m.file]...)...) &&
					passes(t, dir, tests[m.file]...)
				switch reason, listed := equivalent[m.String()]; {
				case survives && !listed:
					survivors.Add(1)
					t.Errorf("no test fails when %s", m)
				case !survives && listed:
					t.Errorf("a test fails when %s, although %s", m, reason)
				}
			})
		}
	})
	t.Logf("%d mutations, %d of them equivalent, %d survivors", len(all), len(equivalent), survivors.Load())
}
