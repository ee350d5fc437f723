package remedy

import "context"

// guardOneAtATime refuses while an earlier action on the target is unfinished:
// one that gave up because of a job, or one that is being finished after a crash.
// While somebody works on the target this very moment the alert waits instead.
// Different targets need no guard: the worker takes one container down at a time.
func (r *Remediator) guardOneAtATime(_ context.Context, p *Plan) Verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.inflight[p.Target] {
		p.Wait = true
		return refuse(OneAtATime, p.Target+" is being worked on right now")
	}
	if d, ok := r.state.debts[p.Target]; ok {
		return refuse(OneAtATime, "an earlier "+d.Action+" of "+p.Target+" is not finished")
	}
	return pass("")
}
