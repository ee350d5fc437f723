//go:build flip

// Behind a tag because it takes minutes: `make flip`. The intervals of the groups, which promtool does not see, are in
// interval_test.go.

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

// A flip is one small change of one rule that makes it another rule: > instead of >=, half a window, one restart more.
// Rules that are tested in earnest do not survive any of them.
type flip struct {
	file, rule string // fast.yml, and the alert or record in it
	at         int    // byte offset in the file
	from, to   string
	line       int
	context    string // the line of the file, without its indentation
}

// String tells flips of one file apart and stays the same while other rules move.
func (f flip) String() string {
	return fmt.Sprintf("%s: %s: %s becomes %s", f.rule, f.context, f.from, f.to)
}

// in returns the file with the flip made.
func (f flip) in(text string) string {
	return text[:f.at] + f.to + text[f.at+len(f.from):]
}

// flipped is what stands for a word or an operator outside of a selector, one at a time: its neighbour at the boundary and
// its opposite.
var flipped = map[string][]string{
	">": {">=", "<"}, ">=": {">", "<="},
	"<": {"<=", ">"}, "<=": {"<", ">="},
	"==": {"!="}, "!=": {"=="},
	"and": {"unless"}, "unless": {"and"}, "or": {"and"},
	"min": {"max"}, "max": {"min"},
	"min_over_time":  {"max_over_time", "last_over_time"},
	"max_over_time":  {"min_over_time", "last_over_time"},
	"last_over_time": {"min_over_time", "max_over_time"},
}

// flippedMatcher is the same for the operators of a selector.
var flippedMatcher = map[string][]string{"=": {"!="}, "!=": {"="}, "=~": {"!~"}, "!~": {"=~"}}

// equivalent are the flips that nobody could ever notice, with the reason.
var equivalent = map[string]string{
	"GhostrunnerWatchdog: expr: vector(1): 1 becomes 0": "an alert fires for what exists, whatever its value",
	"GhostrunnerWatchdog: expr: vector(1): 1 becomes 2": "an alert fires for what exists, whatever its value",

	"GhostrunnerDiskLow: 10e9 * group by (host) (present_over_time(ghostrunner_disk_free_bytes[2m])): 2m becomes 4m": "the " +
		"default is compared only with what was seen within two minutes",
}

// One word of PromQL: a string, a duration, a number, a name, an operator, or a brace.
var token = regexp.MustCompile(`"[^"]*"|(?:\d+(?:ms|[smhdwy]))+|\d+(?:\.\d+)?(?:e\d+)?|[a-zA-Z_:][\w:]*|[=!]~|[=!<>]=|[<>=]|[{}]`)

// replacements returns what a token is replaced by, one at a time.
func replacements(t *testing.T, word string, inSelector bool) []string {
	t.Helper()
	if inSelector {
		return flippedMatcher[word]
	}
	if r := flipped[word]; r != nil {
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

// flips returns every flip of a rule file.
func flips(t *testing.T, file, text string) []flip {
	t.Helper()
	var content struct {
		Groups []struct{ Rules []map[string]yaml.Node }
	}
	if err := yaml.Unmarshal([]byte(text), &content); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	lines := strings.SplitAfter(text, "\n")
	offset := func(line int) int { return len(strings.Join(lines[:line-1], "")) } // of a line, the first being 1

	var all []flip
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
					t.Fatalf("%s:%d: %s is written in a way that the flips cannot read; want it plain or after |", file, value.Line, key)
				}
				inSelector := false
				for _, at := range token.FindAllStringIndex(text[begin:end], -1) {
					word := text[begin+at[0] : begin+at[1]]
					inSelector = word == "{" || inSelector && word != "}"
					line := 1 + strings.Count(text[:begin+at[0]], "\n")
					for _, to := range replacements(t, word, inSelector) {
						all = append(all, flip{
							file: file, rule: name, at: begin + at[0], from: word, to: to,
							line: line, context: strings.TrimSpace(lines[line-1]),
						})
					}
				}
			}
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s: no rule with anything to flip", file)
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

// likely matches the names of the test groups that probably notice a change of a rule: those that name the alert, or an alert
// that reads the record.
func likely(rules []Rule, name string) string {
	var own []string
	for _, r := range rules {
		if r.Alert == name || strings.Contains(r.Expr, name) {
			own = append(own, strings.TrimPrefix(r.Alert, "Ghostrunner"))
		}
	}
	return `\b(` + strings.Join(own, "|") + `)\b`
}

// passes tells whether promtool finds nothing wrong.
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

// Every comparison, duration, threshold, operator of sets and choice between minimum and maximum stands in a rule for a
// reason, and for each of them there is a test that fails when it is another one. One flip at a time is judged by the tests of
// its own alert first, and by all the tests of its file if those see nothing. To try one file:
//
//	go test -tags=flip -run='TestEveryFlipIsCaught/flips/disk.yml' ./rules
func TestEveryFlipIsCaught(t *testing.T) {
	rules, tests, text := alerts(t), testsOf(t), map[string]string{}
	for _, file := range slices.Concat(glob(t, "*.yml"), glob(t, "tests/*_test.yml")) {
		text[file] = read(t, file)
	}
	var all []flip
	for _, file := range glob(t, "*.yml") {
		if !passes(t, ".", tests[file]...) {
			t.Fatalf("%s: its tests fail as it is; see TestRulesDoWhatTheyPromise", file)
		}
		all = append(all, flips(t, file, text[file])...)
	}

	// A rule that does not load fails every test, and proves nothing.
	dir, args := t.TempDir(), []string{"check", "rules", "--lint=none"}
	for i, f := range all {
		path := filepath.Join(dir, fmt.Sprintf("%s-line-%d-flip-%d.yml", f.file, f.line, i))
		if err := os.WriteFile(path, []byte(f.in(text[f.file])), 0o600); err != nil {
			t.Fatal(err)
		}
		args = append(args, path)
	}
	run(t, "promtool", args...)

	noticed := maps.Clone(equivalent)
	for _, f := range all {
		delete(noticed, f.String())
	}
	for name := range noticed {
		t.Errorf("%q is listed as equivalent, but there is no such flip", name)
	}

	var survivors atomic.Int64
	t.Run("flips", func(t *testing.T) {
		for _, f := range all {
			t.Run(fmt.Sprintf("%s:%d", f.file, f.line), func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				if err := os.Mkdir(filepath.Join(dir, "tests"), 0o700); err != nil {
					t.Fatal(err)
				}
				for file, content := range text {
					if file == f.file {
						content = f.in(content)
					}
					if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				survives := passes(t, dir, append([]string{"--run=" + likely(rules, f.rule)}, tests[f.file]...)...) &&
					passes(t, dir, tests[f.file]...)
				switch reason, listed := equivalent[f.String()]; {
				case survives && !listed:
					survivors.Add(1)
					t.Errorf("no test fails when %s", f)
				case !survives && listed:
					t.Errorf("a test fails when %s, although %s", f, reason)
				}
			})
		}
	})
	t.Logf("%d flips, %d of them equivalent, %d survivors", len(all), len(equivalent), survivors.Load())
}
