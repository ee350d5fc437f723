package remedy

import "context"

// guardBusy refuses while a job runs: on the target, or for prune on any runner,
// because images disappear under a running job otherwise. A disk that is all but
// full is the one exception: the build cache, of which the engine keeps what a
// build is using, is removed all the same, and nothing else.
func (r *Remediator) guardBusy(ctx context.Context, p *Plan) Verdict {
	targets := []Container{p.Container}
	if p.Action.Engine {
		targets = p.Containers
	}
	reason, detail := r.occupied(ctx, targets, p.Containers)
	switch {
	case reason == "":
		return pass("idle")
	case p.Action.Engine && p.Alert.Name() == AlertDiskCritical && r.opts.PruneLabel == "":
		p.Held = detail
		return pass(detail + ": build cache only")
	}
	return refuse(reason, detail)
}

// occupied returns why the runners among targets may have a job, "" if none has.
// Two independent proofs are asked, the process list and (where it can be asked)
// GitHub; one that says busy is enough, and a process list that cannot be read is a
// reason too. A service has no worker in it and is always idle.
func (r *Remediator) occupied(ctx context.Context, targets, all []Container) (Reason, string) {
	var slots []string
	for _, c := range all {
		if c.Role == RoleRunner {
			slots = append(slots, c.Runner)
		}
	}
	for _, c := range targets {
		if c.Role != RoleRunner {
			continue
		}
		l, err := probe(ctx, r.opts.Docker, c)
		switch {
		case err != nil:
			return UnknownState, "the processes of " + c.Name + " are not known: " + err.Error()
		case l == loadBusy:
			return Busy, "a " + workerName + " process runs in " + c.Name
		}
		if r.opts.GitHub == nil || !c.Running() {
			continue
		}
		if busy, known := r.opts.GitHub.Busy(c.Runner, slots); known && busy {
			return Busy, "GitHub says that " + c.Runner + " is busy"
		}
	}
	return "", ""
}
