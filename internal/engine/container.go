package engine

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/container"
)

// Container is one container as the engine lists it.
type Container struct {
	ID, Name, Image string
	// Labels must not be modified: snapshots share it.
	Labels map[string]string
	// Role, Runner and Scope are the ghostrunner.* labels of that name, empty if absent.
	Role, Runner, Scope string
	// Heal lists the actions that ghostrunner.heal allows on the container. Empty: none, ever.
	Heal []string
	// State is created, running, paused, restarting, removing, exited or dead.
	State string
	// Health is starting, healthy or unhealthy; empty without a health check, and while not running. After a pause a snapshot
	// has what it was before, until a check says more.
	Health string
	// ExitCode is the code of the last exit, if Exited says that one is known. It outlives a restart in a snapshot.
	ExitCode int
	Exited   bool
	Created  time.Time
	// Up is the longest time for which the present run can have lasted; zero if it does not run, or is not told.
	Up time.Duration
	// Starts and OOMKills count what the watcher has seen of this container; zero outside of a snapshot.
	Starts, OOMKills uint64
}

// listed is a container together with what only the moment of the list can tell.
type listed struct {
	Container
	// began is the earliest moment at which the present run can have begun; zero if not running or not told.
	began time.Time
}

// Containers asks the engine for all containers with Options.Labels, running or not, sorted by name.
func (e *Engine) Containers(ctx context.Context) ([]Container, error) {
	list, err := e.list(ctx, container.ListOptions{All: true, Filters: e.selector.filters()})
	if err != nil {
		return nil, err
	}
	out := make([]Container, len(list))
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
	c := Container{
		ID:      s.ID,
		Name:    ownName(s.Names),
		Image:   s.Image,
		Labels:  s.Labels,
		Role:    s.Labels[labelRole],
		Runner:  s.Labels[labelRunner],
		Scope:   s.Labels[labelScope],
		Heal:    splitList(s.Labels[labelHeal]),
		State:   s.State,
		Created: time.Unix(s.Created, 0),
	}
	c.Health = healthOf(s.Status)
	c.ExitCode, c.Exited = exitCodeOf(s.Status)
	l := listed{Container: c}
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

func splitList(s string) []string {
	var out []string
	for f := range strings.SplitSeq(s, ",") {
		if f = strings.TrimSpace(f); f != "" {
			out = append(out, f)
		}
	}
	return out
}

// healthOf reads the health out of a Status such as "Up 3 minutes (healthy)" or "Up 1 second (health: starting)"
// (moby container/state.go, State.String). A paused container shows "(Paused)" instead: its checks do not run.
func healthOf(status string) string {
	switch {
	case !strings.HasPrefix(status, "Up "):
		return ""
	case strings.HasSuffix(status, "(healthy)"):
		return healthHealthy
	case strings.HasSuffix(status, "(unhealthy)"):
		return healthUnhealthy
	case strings.HasSuffix(status, "(health: starting)"), strings.HasSuffix(status, "(starting)"):
		return healthStarting
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

// maxUptimeOf returns the longest time for which "Up 3 minutes (healthy)" can stand. The engine rounds (docker
// go-units, HumanDuration); only a list is asked, and the exact start would need an inspect.
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
