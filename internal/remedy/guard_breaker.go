package remedy

import (
	"context"
	"fmt"
	"time"
)

// guardBreaker holds back what would disturb a back-off. While the breaker is
// open nothing is done to the runner. On probation a watchdog fire does not
// restart it again but opens the breaker for twice as long, and so does any restart
// that is asked for if restarts in vain had opened it; a back-off alert without a
// new fire is the old storm still standing, and refused.
func (r *Remediator) guardBreaker(_ context.Context, p *Plan) Verdict {
	if p.Action.Engine || p.Container.Role != RoleRunner {
		return pass("")
	}
	r.mu.Lock()
	b := r.state.breakers[p.Target]
	r.mu.Unlock()
	if p.Action.Name == ActionBackoff {
		p.Length = b.nextLength(r.opts.BackoffDuration, r.opts.BackoffMax)
	}
	switch b.State {
	case Open:
		return refuse(BreakerOpen, "stopped until "+b.Until.UTC().Format(time.RFC3339))
	case HalfOpen:
		if p.Action.Name == ActionBackoff {
			return refuse(BreakerOpen, "on probation: only a new fire opens it again")
		}
		if p.Action.Name == ActionRestart && (b.Ladder || p.Alert.Name() == AlertRetryLoop) && p.Container.Allows(ActionBackoff) {
			p.Action = r.action(ActionBackoff)
			p.Probation, p.InVain = true, b.Ladder
			p.Length = b.nextLength(r.opts.BackoffDuration, r.opts.BackoffMax)
			return pass(fmt.Sprintf("a fire on probation: back off for %s", p.Length))
		}
		return pass("on probation")
	default:
		return pass("closed")
	}
}
