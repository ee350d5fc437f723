package remedy

import (
	"context"
	"fmt"
)

// guardDryRun is the last one: everything else said yes. What a prune would remove is listed.
func (r *Remediator) guardDryRun(ctx context.Context, p *Plan) Verdict {
	if !r.opts.DryRun {
		return pass("")
	}
	would := "would " + p.Action.Name + " " + p.Target
	if p.Action.Name != ActionPrune {
		return refuse(DryRun, would)
	}
	lines, sum, err := r.wouldPrune(ctx, p)
	p.Would = lines
	if err != nil {
		return refuse(DryRun, would+"; what is not known in full: "+err.Error())
	}
	return refuse(DryRun, fmt.Sprintf("%s: %d objects, %d bytes", would, len(lines), sum))
}
