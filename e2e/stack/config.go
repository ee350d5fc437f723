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

// The demo runs the shipped rules and the shipped configuration of Prometheus and Alertmanager; only waiting is shortened,
// so that it takes minutes and not hours. No expression, threshold, label or route is touched. With Options.Shipped nothing
// at all is.
const (
	haste         = 20               // divides `for:` and `keep_firing_for:`, which keeps their order
	longestPoll   = time.Second      // of scrape, evaluation and group intervals
	longestRepeat = 10 * time.Second // of what Alertmanager says again
)

var (
	waits = regexp.MustCompile(`(?m)^(\s+(?:for|keep_firing_for): )(\S+)`)
	polls = regexp.MustCompile(`(?m)^(\s+(?:- )?(?:scrape_interval|scrape_timeout|evaluation_interval|group_interval|interval): )(\S+)`)
	again = regexp.MustCompile(`(?m)^(\s+repeat_interval: )(\S+)`)
)

// writeConfig writes the configuration into the stack's folder, shortened unless it is to be as shipped.
func (s *Stack) writeConfig() error {
	for _, files := range []struct{ from, to string }{
		{"rules/*.yml", "rules"},
		{"compose/prometheus/*.yml", "prometheus"},
		{"compose/prometheus/targets/*.yml", "targets"},
		{"compose/alertmanager/*.yml", "alertmanager"}, // not its secrets/: a demo must not tell people
		{"compose/alertmanager/*.tmpl", "alertmanager"},
	} {
		// The folder is mounted: it must keep its identity over a second start.
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
	text = change(text, waits, func(d time.Duration) time.Duration { return max(d/haste, time.Second).Round(time.Second) })
	text = change(text, polls, func(d time.Duration) time.Duration { return min(d, longestPoll) })
	return change(text, again, func(d time.Duration) time.Duration { return min(d, longestRepeat) })
}

// change replaces every duration that the pattern's second group finds.
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

// tool builds a pinned developer tool if it is not built yet, and returns its path.
func (s *Stack) tool(ctx context.Context, name string) (string, error) {
	path := filepath.Join(s.root, ".cache", "bin", name)
	cmd := exec.CommandContext(ctx, "make", "--silent", "--no-print-directory", "-C", s.root, path)
	cmd.Stdout, cmd.Stderr = s.opts.Out, s.opts.Out
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("build %s: %w", name, err)
	}
	return path, nil
}
