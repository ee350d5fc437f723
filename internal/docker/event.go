package docker

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// wanted are the container events that change the table. The filter of health_status makes the
// engine match all others by prefix too (moby daemon/events/filter.go), so the stream can carry
// others.
var wanted = []events.Action{
	events.ActionCreate, events.ActionStart, events.ActionDie, events.ActionOOM, events.ActionDestroy, events.ActionRename,
	events.ActionPause, events.ActionUnPause, events.ActionHealthStatus,
}

// event is a container event.
type event struct {
	id          string
	action      events.Action
	at          time.Time
	name        string // rename: the new name
	health      string // health_status: starting, healthy or unhealthy
	exitCode    int    // die
	hasExitCode bool
}

// eventFilters asks for these events, of containers with a role and the labels of the selector.
func eventFilters(s selector) filters.Args {
	args := s.filters(filters.Arg("type", string(events.ContainerEventType)), filters.Arg("label", runner.LabelRole))
	for _, a := range wanted {
		args.Add("event", string(a))
	}
	return args
}

// readEvent reads what the table needs. It reports false for a foreign container, and for an action
// that matched by its prefix only. An event carries the container's labels among its attributes.
func readEvent(m events.Message, s selector) (event, bool) {
	if m.Type != events.ContainerEventType || m.Actor.ID == "" || !s.matches(m.Actor.Attributes) {
		return event{}, false
	}
	if _, ok := m.Actor.Attributes[runner.LabelRole]; !ok {
		return event{}, false
	}
	ev := event{id: m.Actor.ID, action: m.Action, at: time.Unix(0, m.TimeNano)}
	switch ev.action {
	case events.ActionDie:
		code, err := strconv.Atoi(m.Actor.Attributes["exitCode"])
		ev.exitCode, ev.hasExitCode = code, err == nil
	case events.ActionRename:
		ev.name = strings.TrimPrefix(m.Actor.Attributes["name"], "/")
	default:
		health, ok := strings.CutPrefix(string(ev.action), string(events.ActionHealthStatus)+": ")
		if !ok {
			return ev, slices.Contains(wanted, ev.action)
		}
		ev.health = health
		return ev, slices.Contains([]string{runner.HealthStarting, runner.HealthHealthy, runner.HealthUnhealthy}, health)
	}
	return ev, true
}
