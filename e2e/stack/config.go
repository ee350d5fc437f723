package stack

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/prometheus/common/model"
)

// The demo runs the shipped rules and configuration of Prometheus and Alertmanager. Only durations
// are shortened, so that it takes minutes instead of hours; expressions, thresholds, labels and
// routes are unchanged. Options.Shipped changes nothing.
const (
	speedup       = 20               // divides `for:` and `keep_firing_for:`, which keeps their order
	longestPoll   = time.Second      // for scrape, evaluation and group intervals
	longestRepeat = 10 * time.Second // for Alertmanager's repeat interval
)

var (
	waits     = regexp.MustCompile(`(?m)^(\s+(?:for|keep_firing_for): )(\S+)`)
	intervals = regexp.MustCompile(`(?m)^(\s+(?:- )?(?:scrape_interval|scrape_timeout|evaluation_interval|group_interval|interval): )(\S+)`)
	repeats   = regexp.MustCompile(`(?m)^(\s+repeat_interval: )(\S+)`)
)

// writeConfig writes the configuration to the stack's folder.
func (s *Stack) writeConfig() error {
	for _, files := range []struct{ from, to string }{
		{"rules/*.yml", "rules"},
		{"compose/prometheus/*.yml", "prometheus"},
		{"compose/prometheus/targets/*.yml", "targets"},
		{"compose/alertmanager/*.yml", "alertmanager"}, // without secrets/: a demo must not notify people
		{"compose/alertmanager/*.tmpl", "alertmanager"},
	} {
		// The folder is mounted, so a second start must not replace it.
		to := filepath.Join(s.dir, files.to)
		if err := os.MkdirAll(to, 0o755); err != nil {
			return err
		}
		sources, err := filepath.Glob(filepath.Join(s.root, files.from))
		if err != nil {
			return err
		}
		for _, source := range sources {
			text, err := os.ReadFile(source)
			if err != nil {
				return err
			}
			if !s.opts.Shipped {
				text = []byte(shorten(string(text)))
			}
			if err := os.WriteFile(filepath.Join(to, filepath.Base(source)), text, 0o644); err != nil {
				return err
			}
		}
	}
	return nil
}

func shorten(text string) string {
	text = change(text, waits, func(d time.Duration) time.Duration { return max(d/speedup, time.Second).Round(time.Second) })
	text = change(text, intervals, func(d time.Duration) time.Duration { return min(d, longestPoll) })
	return change(text, repeats, func(d time.Duration) time.Duration { return min(d, longestRepeat) })
}

// change replaces the duration in the pattern's second group.
func change(text string, pattern *regexp.Regexp, to func(time.Duration) time.Duration) string {
	return pattern.ReplaceAllStringFunc(text, func(line string) string {
		m := pattern.FindStringSubmatch(line)
		d, err := model.ParseDuration(m[2])
		if err != nil {
			return line
		}
		return m[1] + model.Duration(to(time.Duration(d))).String()
	})
}

// tool builds a pinned developer tool unless it exists, and returns its path.
func (s *Stack) tool(ctx context.Context, name string) (string, error) {
	path := filepath.Join(s.root, ".cache", "bin", name)
	cmd := exec.CommandContext(ctx, "make", "--silent", "--no-print-directory", "-C", s.root, path)
	cmd.Stdout, cmd.Stderr = s.opts.Out, s.opts.Out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	return path, nil
}
