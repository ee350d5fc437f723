package remedy

import (
	"cmp"
	"context"
)

// guardBusy refuses while a job runs: on the target, or for prune on any runner,
// because images disappear under a running job otherwise. A disk below the critical
// floor is the one exception: there a prune goes on, more carefully (Plan.Held).
func (r *Remediator) guardBusy(ctx context.Context, p *Plan) Verdict {
	targets := []Container{p.Container}
	if p.Action.Engine {
		targets = p.Containers
	}
	reason, detail, disbelieved := r.occupied(ctx, targets, p.Containers)
	switch {
	case reason == "":
		p.Disbelieved = disbelieved
		return pass(cmp.Or(disbelieved, "idle"))
	case p.Action.Engine && p.Free < criticalFloor:
		p.Held = detail
		return pass(detail + ", but the disk is all but full: nothing younger than " + heldAge.String())
	}
	return refuse(reason, detail)
}
