package docker

import (
	"strconv"
	"strings"
	"time"

	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/blueguy23/ghostrunner/internal/runner"
)

// The container events that report a change. A health change is the action "health_status:
// unhealthy"; the filter of that name makes the engine match all the others by prefix as well (moby
// daemon/events/filter.go), so a filtered stream may still carry others.
const (
	actionCreate  = "create"
	actionStart   = "start"
	actionDie     = "die"
	actionStop    = "stop"
	actionKill    = "kill"
	actionOOM     = "oom"
	actionDestroy = "destroy"
	actionRename  = "rename"
	actionPause   = "pause"
	actionUnpause = "unpause"

	actionHealth = "health_status"
)

// event is a container event.
type event struct {
	id, action  string
	at          time.Time
	name        string // rename: the new name
	health      string // health_status: starting, healthy or unhealthy
	exitCode    int    // die
	hasExitCode bool
}

// eventFilters asks for these events, of containers with a role and the labels of the selector.
func eventFilters(s selector) filters.Args {
	args := s.filters(filters.Arg("type", string(events.ContainerEventType)), filters.Arg("label", runner.LabelRole))
	for _, a := range []string{
		actionCreate, actionStart, actionDie, actionStop, actionKill, actionOOM, actionDestroy, actionRename, actionPause, actionUnpause, actionHealth,
	} {
		args.Add("event", a)
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
	ev := event{id: m.Actor.ID, action: string(m.Action), at: time.Unix(0, m.TimeNano)}
	switch ev.action {
	case actionCreate, actionStart, actionStop, actionKill, actionOOM, actionDestroy, actionPause, actionUnpause:
	case actionDie:
		code, err := strconv.Atoi(m.Actor.Attributes["exitCode"])
		ev.exitCode, ev.hasExitCode = code, err == nil
	case actionRename:
		ev.name = strings.TrimPrefix(m.Actor.Attributes["name"], "/")
	default:
		health, ok := strings.CutPrefix(ev.action, actionHealth+": ")
		if !ok {
			return event{}, false
		}
		switch health {
		case runner.HealthStarting, runner.HealthHealthy, runner.HealthUnhealthy:
			ev.health = health
		default:
			return event{}, false
		}
	}
	return ev, true
}
