package remedy

import (
	"slices"

	"github.com/blueguy23/ghostrunner/internal/remedy/journal"
	"github.com/blueguy23/ghostrunner/internal/remedy/prune"
	"github.com/blueguy23/ghostrunner/internal/runner"
)

// Labels of an alert that mean something here. CONTRACT: they are public names.
const (
	labelRemediation = "remediation"
	labelRunner      = "runner"
	labelContainer   = "container"
	labelRecheck     = "recheck"
	labelCountsAs    = "counts_as"
	labelHeartbeat   = "heartbeat"

	recheckHealth = "health"
	recheckOnline = "online"
	recheckDisk   = "disk"

	countsAsFire = "watchdog_fire"
)

// Labels lists the labels that mean something here, beside those that only people read.
var Labels = []string{
	labelRemediation, labelRunner, labelContainer, labelRecheck, labelCountsAs, labelHeartbeat, prune.LabelThreshold, prune.LabelTarget,
}

// resolve turns an alert into a plan with exactly one action and one target. The labels are input,
// and a wrong one is more likely a mistake in a rule than a permission that is missing.
func resolve(w World, alert journal.Alert) (Plan, Verdict) {
	p := Plan{Alert: alert}
	action, ok := w.Options.action(alert.Remediation())
	if !ok {
		return p, refuse(UntrustedLabel, "label remediation names no action: %s", alert.Remediation())
	}
	p.Action = action
	if v := checkRecheck(p); !v.OK {
		return p, v
	}
	list, err := w.List()
	if err != nil {
		return p, refuse(UnknownState, "docker does not list its containers: %v", err)
	}
	p.Containers = list
	if action.Engine {
		return resolveSpace(w, p)
	}
	return resolveContainer(p)
}

// checkRecheck refuses a recheck that names nothing which can be looked at for the action.
func checkRecheck(p Plan) Verdict {
	known := []string{"", recheckHealth, recheckOnline}
	if p.Action.Engine {
		known = []string{"", recheckDisk}
	}
	if recheck := p.Alert.Labels[labelRecheck]; !slices.Contains(known, recheck) {
		return refuse(UntrustedLabel, "label recheck=%s names nothing that can be looked at for %s", recheck, p.Action.Name)
	}
	return pass("")
}

// resolveSpace takes what a prune is to free from the labels, and measures the disk itself.
func resolveSpace(w World, p Plan) (Plan, Verdict) {
	p.Target = targetEngine
	space, err := prune.Wanted(p.Alert.Labels)
	if err != nil {
		return p, refuse(UntrustedLabel, "%v", err)
	}
	if p.Space, err = w.Measure(space); err != nil {
		return p, refuse(UnknownState, "free space is unknown: %v", err)
	}
	if err := p.Space.Check(); err != nil {
		return p, refuse(UntrustedLabel, "%v", err)
	}
	return p, pass("%s", p.Space)
}

// resolveContainer finds the container that the labels "runner" and "container" name, by exact
// match; if both are given they must agree.
func resolveContainer(p Plan) (Plan, Verdict) {
	slot, container := p.Alert.Labels[labelRunner], p.Alert.Labels[labelContainer]
	if slot == "" && container == "" {
		return p, refuse(NoTarget, "the alert has neither a label runner nor a label container")
	}
	var found []runner.Container
	var half bool // one label fits, the other does not
	for _, c := range p.Containers {
		isRunner := c.Role == runner.RoleRunner && c.Runner == slot
		isContainer := c.Name == container
		switch {
		case (slot == "" || isRunner) && (container == "" || isContainer):
			found = append(found, c)
		case slot != "" && isRunner, container != "" && isContainer:
			half = true
		}
	}
	switch {
	case len(found) == 1:
		p.Container, p.Target = found[0], found[0].Target()
		p.Fire = p.Action.Name == ActionRestart && p.Alert.Labels[labelCountsAs] == countsAsFire && p.Container.Role == runner.RoleRunner
		return p, pass("container %s (%s)", p.Container.Name, p.Container.State)
	case len(found) > 1:
		return p, refuse(UntrustedLabel, "%d containers claim to be runner %s", len(found), slot)
	case half:
		return p, refuse(UntrustedLabel, "labels runner=%q and container=%q name different containers", slot, container)
	default:
		return p, refuse(NoTarget, "no container with runner=%q container=%q", slot, container)
	}
}
