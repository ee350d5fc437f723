package docker

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// listed is a container as a list shows it.
type listed struct {
	runner.Container
	// began is the earliest time at which the present or last run can have begun.
	began time.Time
}

// Containers asks the engine for all containers with Options.Labels, running or not, sorted by
// name.
func (e *Engine) Containers(ctx context.Context) ([]runner.Container, error) {
	list, err := e.list(ctx, container.ListOptions{All: true, Filters: e.selector.filters()})
	if err != nil {
		return nil, err
	}
	out := make([]runner.Container, len(list))
	for i := range list {
		out[i] = list[i].Container
	}
	return out, nil
}

// list returns the containers that match the options and the selector, sorted by name.
func (e *Engine) list(ctx context.Context, opts container.ListOptions) ([]listed, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	sums, err := e.api(ctx).ContainerList(ctx, opts)
	if err != nil {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	now := time.Now()
	out := make([]listed, 0, len(sums))
	for i := range sums {
		if e.selector.matches(sums[i].Labels) {
			out = append(out, fromSummary(&sums[i], now))
		}
	}
	slices.SortFunc(out, func(a, b listed) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

func fromSummary(s *container.Summary, now time.Time) listed {
	c := runner.Container{
		ID:      s.ID,
		Name:    ownName(s.Names),
		Image:   s.Image,
		Labels:  s.Labels,
		Role:    s.Labels[runner.LabelRole],
		Runner:  s.Labels[runner.LabelRunner],
		Scope:   s.Labels[runner.LabelScope],
		Heal:    runner.ParseHeal(s.Labels[runner.LabelHeal]),
		State:   s.State,
		Created: time.Unix(s.Created, 0),
	}
	c.Health = healthOf(s.Status)
	c.ExitCode, c.Exited = exitCodeOf(s.Status)
	l := listed{Container: c, began: c.Created}
	if up, ok := maxUptimeOf(s.Status); ok {
		l.Up, l.began = up, now.Add(-up)
	}
	return l
}

// ownName returns the name of the container itself: legacy links add names such as /other/alias.
func ownName(names []string) string {
	for _, n := range names {
		if n = strings.TrimPrefix(n, "/"); !strings.Contains(n, "/") {
			return n
		}
	}
	return ""
}

// healthOf reads the health out of a Status such as "Up 3 minutes (healthy)" or "Up 1 second
// (health: starting)" (moby container/state.go, State.String). A paused container shows "(Paused)"
// instead: its checks do not run.
func healthOf(status string) string {
	switch {
	case !strings.HasPrefix(status, "Up "):
		return ""
	case strings.HasSuffix(status, "(healthy)"):
		return runner.HealthHealthy
	case strings.HasSuffix(status, "(unhealthy)"):
		return runner.HealthUnhealthy
	case strings.HasSuffix(status, "(health: starting)"), strings.HasSuffix(status, "(starting)"):
		return runner.HealthStarting
	}
	return ""
}

// exitCodeOf reads "Exited (137) 2 minutes ago" and "Restarting (1) 5 seconds ago".
func exitCodeOf(status string) (code int, ok bool) {
	rest, found := strings.CutPrefix(status, "Exited (")
	if !found {
		rest, found = strings.CutPrefix(status, "Restarting (")
	}
	digits, _, closed := strings.Cut(rest, ")")
	if !found || !closed {
		return 0, false
	}
	code, err := strconv.Atoi(digits)
	return code, err == nil
}

// maxUptimeOf returns the longest time that "Up 3 minutes (healthy)" can mean: the engine rounds
// (docker go-units, HumanDuration).
func maxUptimeOf(status string) (time.Duration, bool) {
	rest, ok := strings.CutPrefix(status, "Up ")
	if !ok {
		return 0, false
	}
	rest, _, _ = strings.Cut(rest, " (")
	switch rest {
	case "Less than a second":
		return time.Second, true
	case "About a minute":
		return 2 * time.Minute, true
	case "About an hour":
		return 2 * time.Hour, true
	}
	digits, unit, _ := strings.Cut(rest, " ")
	n, err := strconv.Atoi(digits)
	if err != nil {
		return 0, false
	}
	const day = 24 * time.Hour
	size, ok := map[string]time.Duration{
		"second": time.Second, "minute": time.Minute, "hour": time.Hour, "day": day, "week": 7 * day, "month": 30 * day, "year": 365 * day,
	}[strings.TrimSuffix(unit, "s")]
	return time.Duration(n+1) * size, ok
}
