package remedy

import "context"

// guardDryRun is the last one: everything else said yes.
func (r *Remediator) guardDryRun(_ context.Context, p *Plan) Verdict {
	if r.opts.DryRun {
		return refuse(DryRun, "would "+p.Action.Name+" "+p.Target)
	}
	return pass("")
}
