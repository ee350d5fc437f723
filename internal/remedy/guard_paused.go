package remedy

import "context"

// guardPaused refuses while a person has paused the remediator.
func (r *Remediator) guardPaused(context.Context, *Plan) Verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.state.paused {
		return refuse(Paused, "paused by an operator; `ghostrunner-remediator resume` ends it")
	}
	return pass("")
}
