// Package runner is the vocabulary that the exporter, the remediator, the supervisor and the
// adapters share: containers, registrations at GitHub, the labels of both, which registration
// belongs to which slot, and which process runs a job. It has no I/O and imports the standard
// library only, so that "online", "busy" and "belongs to the slot" mean the same everywhere.
package runner

import (
	"slices"
	"strings"
	"time"
)

// Labels of a container. CONTRACT: they are public names.
const (
	LabelRole   = "ghostrunner.role"
	LabelRunner = "ghostrunner.runner"
	LabelHeal   = "ghostrunner.heal"
	LabelScope  = "ghostrunner.scope"
)

// Values of LabelRole.
const (
	RoleRunner  = "runner"
	RoleService = "service"
)

// States of a container, as the Docker engine writes them.
const (
	StateCreated    = "created"
	StateRunning    = "running"
	StatePaused     = "paused"
	StateRestarting = "restarting"
	StateExited     = "exited"
	StateDead       = "dead"
)

// Results of a health check, as the Docker engine writes them.
const (
	HealthStarting  = "starting"
	HealthHealthy   = "healthy"
	HealthUnhealthy = "unhealthy"
)

// Container is one container as the Docker engine lists it.
type Container struct {
	// Image is the name that the container was created with.
	ID, Name, Image string
	// Labels must not be modified: snapshots share the map.
	Labels map[string]string
	// Role, Runner and Scope are the labels of these names; empty if absent.
	Role, Runner, Scope string
	// Heal lists the actions that LabelHeal allows. Empty: none, ever.
	Heal []string
	// State is one of the State constants, or "removing".
	State string
	// Health is one of the Health constants; empty without a health check and while not running.
	Health string
	// ExitCode is the code of the last exit; valid only if Exited.
	ExitCode int
	Exited   bool
	Created  time.Time
	// Up is the longest time for which the present run can have lasted; 0 if unknown or down.
	Up time.Duration
	// Starts and OOMKills count what a watcher has seen; 0 outside of its snapshot.
	Starts, OOMKills uint64
}

// Running reports whether the container has processes. A paused one has; one that waits for its
// restart policy ("restarting") has not.
func (c Container) Running() bool { return c.State == StateRunning || c.State == StatePaused }

// Down reports whether the container has ended and stays down until something starts it.
func (c Container) Down() bool {
	return c.State == StateExited || c.State == StateCreated || c.State == StateDead
}

// Allows reports whether the container's own label names the action.
func (c Container) Allows(action string) bool { return slices.Contains(c.Heal, action) }

// Target is the name in metrics, journal and breaker: the slot of a runner, else the container's
// name.
func (c Container) Target() string {
	if c.Role == RoleRunner && c.Runner != "" {
		return c.Runner
	}
	return c.Name
}

// ParseHeal splits the value of LabelHeal.
func ParseHeal(value string) []string {
	var actions []string
	for action := range strings.SplitSeq(value, ",") {
		if action = strings.TrimSpace(action); action != "" {
			actions = append(actions, action)
		}
	}
	return actions
}
