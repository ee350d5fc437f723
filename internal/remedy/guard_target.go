package remedy

import (
	"context"
	"fmt"
)

// guardTarget resolves the alert's labels "runner" and "container" to exactly one
// container, by exact match; if both are given they must agree. Prune has no such
// target: it works on the engine.
func (r *Remediator) guardTarget(ctx context.Context, p *Plan) Verdict {
	list, err := r.containers.since(ctx, p.Alert.Received)
	if err != nil {
		return refuse(UnknownState, "docker does not list its containers: "+err.Error())
	}
	p.Containers = list
	if p.Action.Engine {
		p.Target = targetEngine
		return pass("")
	}
	runner, container := p.Alert.Labels[labelRunner], p.Alert.Labels[labelContainer]
	if runner == "" && container == "" {
		return refuse(NoTarget, "the alert has neither a label runner nor a label container")
	}
	var found []Container
	var half bool // one label fits, the other does not
	for _, c := range list {
		isRunner := c.Role == RoleRunner && c.Runner == runner
		isContainer := c.Name == container
		switch {
		case (runner == "" || isRunner) && (container == "" || isContainer):
			found = append(found, c)
		case runner != "" && isRunner, container != "" && isContainer:
			half = true
		}
	}
	switch {
	case len(found) == 1:
		p.Container, p.Target = found[0], found[0].Target()
		return pass(fmt.Sprintf("container %s (%s)", p.Container.Name, p.Container.State))
	case len(found) > 1:
		return refuse(UntrustedLabel, fmt.Sprintf("%d containers claim to be runner %s", len(found), runner))
	case half:
		return refuse(UntrustedLabel, fmt.Sprintf("labels runner=%q and container=%q name different containers", runner, container))
	default:
		return refuse(NoTarget, fmt.Sprintf("no container with runner=%q container=%q", runner, container))
	}
}
