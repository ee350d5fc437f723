package remedy

import (
	"context"
	"time"
)

// guardPaused refuses while a person has paused the remediator.
func (r *Remediator) guardPaused(context.Context, *Plan) Verdict {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.state.pausedAt(time.Now()) {
		return pass("")
	}
	until := ""
	if !r.state.pausedUntil.IsZero() {
		until = " until " + r.state.pausedUntil.UTC().Format("2006-01-02 15:04 MST")
	}
	return refuse(Paused, "paused by an operator"+until+"; `ghostrunner-remediator resume` ends it")
}
